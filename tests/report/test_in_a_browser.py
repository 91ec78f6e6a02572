"""Pages of real runs in a real browser: nothing asks the network, nothing overflows, everything can be read and printed."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from fedlab.cli.main import main
from fedlab.report.page import write_report
from tests.report.conftest import records_of, write_run
from tests.studies.sweep.test_sweep_page import TWO, write_sweep

pytestmark = pytest.mark.slow

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
FLAGS = (
    "--headless --no-sandbox --disable-gpu --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync"
)
FAST = ["num_rounds=20", "data.max_examples=400", "model.hidden=[16]", "-q"]


@pytest.fixture(scope="module")
def browser():
    if not os.path.exists(CHROMIUM):
        pytest.skip("no chromium on this machine: apt-get install chromium")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS.split())
        yield launched
        launched.close()


def train(folder: pathlib.Path, *overrides: str, code: int = 0) -> None:
    command = [sys.executable, "-m", "fedlab.cli.main", "train", *FAST, *overrides, f"hydra.run.dir={folder}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800)
    assert done.returncode == code, done.stdout + done.stderr


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> dict[str, pathlib.Path]:
    """Real runs, one of which fails, and what is made of them; odd runs that training would take long to make."""
    root = tmp_path_factory.mktemp("pages")
    train(root / "real", "partition=dirichlet", "partition.num_clients=15", "cohort.dropout_rate=0.3")
    attack = ("attack=model_inversion", "attack.target=clients", "attack.iterations=2", "attack.num_starts=1")
    train(root / "attacked", "secure.observe=last", *attack)
    train(root / "failed", "server_optimizer.learning_rate=1e37", code=1)
    (root / "real" / "images").mkdir()
    shutil.copy(root / "real" / "partition.png", root / "real" / "images" / "client_3.png")
    write_report(root / "real")
    private = [{**r, "epsilon": 0.01 * r["round"], "attack_success": 1 / r["round"]} for r in records_of(10_000)]
    evil = "<img src=x onerror=alert(1)>"
    extreme = write_run(
        root / "extreme",
        config={"model.name": "x" * 300, "client_optimizer.note": evil},
        records=private,
        num_clients=1000,
        num_classes=62,
        name="a/very_long_name_of_an_experiment_" * 4,
        command="fedlab train " + "some.very.long.option=[1,2,3] " * 20,
        privacy={"delta": 1e-5, "accountant": "pld"},
    )
    write_report(extreme)
    write_report(write_run(root / "one", records=records_of(1)))
    write_sweep(root / "sweep", objective=TWO)
    assert main(["report", str(root / "sweep")]) == 0
    runs = [str(root / name) for name in ("real", "extreme", "one")]
    assert main(["compare", *runs, "--html", str(root / "comparison.html")]) == 0
    assert main(["compare", *map(str, unlike_runs(root)), "--all", "--html", str(root / "unlike.html")]) == 0
    found = {name: root / name / "report.html" for name in ("real", "attacked", "failed", "extreme", "one", "sweep")}
    return {**found, "comparison": root / "comparison.html", "unlike": root / "unlike.html"}


def unlike_runs(root: pathlib.Path) -> list[pathlib.Path]:
    """Five runs that differ in long settings, and took seconds, minutes and hours."""
    return [
        write_run(
            root / f"unlike_{i}",
            config={
                "data.path": f"/a/folder-of/{'very_long_' * 8}{i}.npz",
                "data.classes": list(range(10 * i)),
                "model.name": word,
            },
            summary={"seconds_total": [18.4, 612.0, 9000.0, 0.25, 45.0][i], "bytes_up_total": 10 ** (3 * i)},
        )
        for i, word in enumerate(("x" * 300, "y", "a word " * 30, "z" * 40, "-0.5"))
    ]


NAMES = ("real", "attacked", "failed", "extreme", "one", "sweep", "comparison", "unlike")


class Opened:
    """A page on a screen, and all that it asked for and complained of."""

    def __init__(self, browser, path: pathlib.Path, width: int = 1280, scheme: str = "light"):
        self.asked: list[str] = []
        self.complaints: list[str] = []
        self._context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.page = self._context.new_page()
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(dialog.message))
        self.url = path.as_uri()
        self.page.goto(self.url)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._context.close()


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_fetched_and_nothing_goes_wrong(browser, pages, name):
    with Opened(browser, pages[name]) as opened:
        for plot in opened.page.query_selector_all("[data-hover]"):
            plot.hover()
        assert [url for url in opened.asked if not url.startswith("data:")] == [opened.url]
        assert opened.complaints == []


@pytest.mark.parametrize("width", [320, 390, 1280, 2560])
@pytest.mark.parametrize("name", NAMES)
def test_no_screen_is_too_narrow_or_too_wide(browser, pages, name, width):
    with Opened(browser, pages[name], width) as opened:
        assert opened.page.evaluate("document.documentElement.scrollWidth") == width
        cut = """() => [...document.querySelectorAll("svg[role=img], figcaption, h1, h2, p, dd, code")]
            .filter(e => !e.closest(".scroll")).map(e => e.getBoundingClientRect())
            .filter(box => box.width && (box.left < 0 || box.right > innerWidth)).length"""
        assert opened.page.evaluate(cut) == 0
        assert opened.page.evaluate("parseFloat(getComputedStyle(document.querySelector('.frame')).fontSize)") >= 12


TOUCHED = """() => {
    const texts = [], found = [];
    for (const plot of document.querySelectorAll("figure.plot")) {
        const walk = document.createTreeWalker(plot, NodeFilter.SHOW_TEXT);
        while (walk.nextNode()) {
            const range = document.createRange(), element = walk.currentNode.parentElement;
            range.selectNodeContents(walk.currentNode);
            const text = element.textContent;
            for (const box of range.getClientRects()) if (box.width > 1) texts.push({plot, element, box, text});
        }
    }
    const meet = (a, b) => a.left < b.right - 2 && b.left < a.right - 2 && a.top < b.bottom - 3 && b.top < a.bottom - 3;
    texts.forEach((a, i) => texts.slice(i + 1).forEach(b => {
        if (a.plot === b.plot && a.element !== b.element && meet(a.box, b.box)) found.push(`${a.text} touches ${b.text}`);
    }));
    for (const svg of document.querySelectorAll("svg[role=img]")) {
        const covers = element => getComputedStyle(element).backgroundColor.startsWith("rgb(");
        const bare = texts.filter(t => t.plot === svg.closest("figure") && !covers(t.element));
        for (const path of svg.querySelectorAll("path.line, path.rule, path.grid")) {
            const matrix = path.getScreenCTM(), length = path.getTotalLength();
            for (let i = 0; i <= 500; i++) {
                const {x, y} = path.getPointAtLength(length * i / 500).matrixTransform(matrix);
                const hit = bare.find(({box: b}) => x > b.left + 1 && x < b.right - 1 && y > b.top + 3 && y < b.bottom - 3);
                if (hit) { found.push(`a line crosses ${hit.text}`); break; }
            }
        }
    }
    return found;
}"""


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("name", NAMES)
def test_texts_of_plots_touch_neither_each_other_nor_a_line(browser, pages, name, width):
    """A text with a background of its own hides the line behind it."""
    with Opened(browser, pages[name], width) as opened:
        assert opened.page.evaluate(TOUCHED) == []


def test_curves_are_where_they_can_be_seen(browser, pages):
    with Opened(browser, pages["real"]) as opened:
        boxes = opened.page.evaluate("""() => [...document.querySelectorAll("#curves .line[data-name]")].map(path => {
            const box = path.getBoundingClientRect(), area = path.closest(".area").getBoundingClientRect();
            return [box.width / area.width, box.height, getComputedStyle(path).stroke];
        })""")
        assert len(boxes) == 4 and all(wide > 0.8 and high > 30 for wide, high, _ in boxes)
        assert len({stroke for _, _, stroke in boxes}) == 2
        assert opened.page.locator("#data .heat").count() > 5 and opened.page.locator("#images img").count() == 1
        assert opened.page.evaluate("document.querySelector('#images img').naturalWidth") > 100


def test_a_curve_tells_its_value_where_it_is_pointed_at(browser, pages):
    with Opened(browser, pages["one"].parent.parent / "real" / "report.html") as opened:
        opened.page.locator("#curves [data-hover]").first.hover(position={"x": 1, "y": 20})
        tip = opened.page.locator(".tip").inner_text()
        lines = tip.splitlines()
        assert lines[0] == "round 1" and len(lines) == 3 and all(line.endswith("%") for line in lines[1:])
        opened.page.mouse.move(0, 0)
        assert opened.page.locator(".tip").count() == 0


def test_jobs_are_sorted_by_a_click(browser, pages):
    with Opened(browser, pages["sweep"]) as opened:
        opened.page.get_by_role("button", name="test accuracy").click()
        order = "() => [...document.querySelectorAll('#jobs tbody tr')].map(row => row.cells[0].textContent)"
        assert opened.page.evaluate(order) == ["0", "1", "2", "3", "4"]
        opened.page.get_by_role("button", name="test accuracy").click()
        assert opened.page.evaluate(order) == ["3", "2", "1", "0", "4"]  # the failed one has none, and stays last
        opened.page.locator("#jobs a").first.click()
        assert opened.page.title().endswith("run")


CONTRAST = """() => {
    const parts = color => color.match(/[\\d.]+/g).slice(0, 3).map(Number);
    const light = ([r, g, b]) => [r, g, b].map(v => v / 255).map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
    const paper = light(parts(getComputedStyle(document.body).backgroundColor));
    const ratio = color => { const c = light(parts(color)); return (Math.max(c, paper) + .05) / (Math.min(c, paper) + .05); };
    const text = [...document.querySelectorAll("h1, h2, p, dt, dd, th, td, a, .frame span, .legend li, .status, footer")]
        .map(e => ratio(getComputedStyle(e).color));
    const lines = [...document.querySelectorAll("path.line, path.dots")].map(e => ratio(getComputedStyle(e).stroke));
    return [paper, Math.min(...text), Math.min(...lines)];
}"""


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_read_by_day_and_by_night(browser, pages, name, scheme):
    """WCAG: text has a contrast of 4.5 at least, lines one of 3."""
    with Opened(browser, pages[name], scheme=scheme) as opened:
        paper, text, lines = opened.page.evaluate(CONTRAST)
        assert (paper < 0.05) == (scheme == "dark") and text >= 4.5 and lines >= 3


@pytest.mark.parametrize("name", NAMES)
def test_it_prints_in_black_on_white(browser, pages, name, tmp_path):
    with Opened(browser, pages[name], scheme="dark") as opened:
        pdf = opened.page.pdf(path=tmp_path / "page.pdf", prefer_css_page_size=True)
        assert pdf.startswith(b"%PDF") and 10_000 < len(pdf) < 3_000_000
        opened.page.emulate_media(media="print")
        assert opened.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert opened.page.evaluate("getComputedStyle(document.querySelector('nav')).display") == "none"


PAPER = 680  # CSS pixels across A4 between the margins of style.css: 180 mm, at 96 an inch


@pytest.mark.parametrize("name", NAMES)
def test_paper_is_wide_enough(browser, pages, name):
    with Opened(browser, pages[name], PAPER) as opened:
        opened.page.emulate_media(media="print")
        assert opened.page.evaluate("document.documentElement.scrollWidth") == PAPER


TORN = """() => {
    const found = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const units = /[0-9][ \\u00a0](s|min|h|B|kB|MB|GB|TB|points)\\b/g;
    while (walk.nextNode()) {
        const node = walk.currentNode;
        if (node.parentElement.closest("code, script, style")) continue;
        for (const match of node.textContent.matchAll(units)) {
            const range = document.createRange();
            range.setStart(node, match.index);
            range.setEnd(node, match.index + match[0].length);
            if (new Set([...range.getClientRects()].map(box => Math.round(box.top))).size > 1) found.push(match[0]);
        }
    }
    return found;
}"""


@pytest.mark.parametrize("width", [320, PAPER])
@pytest.mark.parametrize("name", NAMES)
def test_no_number_is_torn_from_its_unit(browser, pages, name, width):
    with Opened(browser, pages[name], width) as opened:
        if width == PAPER:
            opened.page.emulate_media(media="print")
        assert opened.page.evaluate(TORN) == []


def test_a_run_leaves_its_page_however_it_ends(pages):
    assert "the model has diverged" in pages["failed"].read_text()
    assert (pages["real"].parent / "clients.csv").read_text().startswith("client,examples,accuracy,loss\n")
    assert len((pages["real"].parent / "clients.csv").read_text().splitlines()) == 16
