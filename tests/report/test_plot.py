"""Pictures for papers: lines are means of what the records hold, bands are what they are called, files are the same each time."""

from __future__ import annotations

import os
import re
import shutil
import statistics
import struct
import subprocess
import sys
import xml.etree.ElementTree as ET
import zlib

import pytest

import fedlab
from fedlab.archive import read_run
from fedlab.archive.metrics import MetricsFile
from fedlab.cli.main import main
from fedlab.errors import ConfigError, FedlabError
from fedlab.report import paper
from fedlab.report.comparison import gather
from fedlab.report.grouping import grouped
from fedlab.report.lines import picture
from tests.report.conftest import records_of, write_run

RATE = "client_optimizer.learning_rate"
CEILINGS = {0.1: (0.80, 0.84, 0.91), 0.5: (0.90, 0.96)}  # of the accuracy, by learning rate, a run per seed


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """Five runs: three seeds with one learning rate, two with another. No test writes into it."""
    folder = tmp_path_factory.mktemp("plot") / "sweep"
    for rate, ceilings in CEILINGS.items():
        for seed, ceiling in enumerate(ceilings):
            write_run(folder / f"{rate}-{seed}", {RATE: rate, "seed": seed}, records_of(6, ceiling))
    return folder


def runs_in(*folders):
    return gather(folders, at_least=1)[0]


def private(num_rounds, delta=1e-5):
    return [{**record, "epsilon": 0.5 * record["round"], "delta": delta} for record in records_of(num_rounds)]


class TestLines:
    def test_runs_that_differ_in_their_seed_are_one_line_of_means(self, sweep):
        found = picture(runs_in(sweep))
        (panel,) = found.panels
        assert panel.metric == "test_accuracy" and [line.num_runs for line in panel.lines] == [3, 2]
        assert [line.label for line in panel.lines] == ["learning rate = 0.1", "learning rate = 0.5"]
        for line, ceilings in zip(panel.lines, CEILINGS.values()):
            assert line.points == tuple((r, pytest.approx(statistics.fmean(ceilings) - 0.6 / r)) for r in range(1, 7))

    def test_bands_are_what_the_legend_calls_them(self, sweep):
        around = {band: picture(runs_in(sweep), band=band).panels[0].lines[0] for band in ("std", "ci", "range", "none")}
        mean, deviation = statistics.fmean(CEILINGS[0.1]), statistics.stdev(CEILINGS[0.1])
        half = 4.302653 * deviation / 3**0.5  # Student's t of 2 degrees of freedom, 97.5 %
        expected = {"std": (mean - deviation, mean + deviation), "ci": (mean - half, mean + half), "range": (0.80, 0.91)}
        for band, (low, high) in expected.items():
            assert around[band].band[2] == (3, pytest.approx(low - 0.2), pytest.approx(high - 0.2))
        assert around["none"].band == ()
        assert "95% confidence interval of the mean, from Student's t" in picture(runs_in(sweep), band="ci").caption

    @pytest.mark.parametrize(
        ("x", "names", "label"),
        [
            ("bytes", ("bytes_up", "bytes_down"), "traffic of all clients (MB)"),
            ("bytes_up", ("bytes_up",), "traffic from all clients (MB)"),
            ("bytes_down", ("bytes_down",), "traffic to all clients (MB)"),
            ("seconds", ("seconds",), "training time (s)"),
        ],
    )
    def test_bytes_and_seconds_are_totals_also_of_rounds_without_the_metric(self, run, x, names, label):
        records = records_of(6)
        for record in records:
            if record["round"] % 3:
                del record["test_accuracy"]
        found = picture([read_run(run(records=records))], x)
        totals = [sum(record[name] for record in records[:r] for name in names) for r in (3, 6)]
        assert [at for at, _ in found.panels[0].lines[0].points] == pytest.approx(totals) and found.x.axis == label

    def test_over_epsilon(self, run):
        found = picture([read_run(run(records=private(4)))], "epsilon")
        assert [at for at, _ in found.panels[0].lines[0].points] == [0.5, 1.0, 1.5, 2.0]
        assert found.x.axis == "privacy loss ε (δ = 1 × 10⁻⁵)"
        assert any("covers one training alone" in remark for remark in found.remarks)

    def test_an_epsilon_that_a_run_does_not_have_is_not_drawn(self, run):
        plain, stopping = run("plain"), run("stopping", config={"stop.patience": 2}, records=private(4))
        infinite = run("infinite", records=[{**record, "epsilon": None} for record in private(4)])
        for path, why in ((plain, "has no finite ε"), (infinite, "has no finite ε"), (stopping, "all planned rounds from the")):
            with pytest.raises(FedlabError, match=rf"nothing to draw: .*{path.name} .*{why}"):
                picture([read_run(path)], "epsilon")
        with pytest.raises(FedlabError, match="all planned rounds"):
            picture([read_run(stopping)], metrics=["epsilon"])

    def test_a_value_that_is_not_finite_interrupts_the_line_of_its_group(self, run):
        hole = records_of(5)
        hole[2]["test_accuracy"] = None
        found = picture(
            [
                read_run(run("a", records=hole)),
                read_run(run("b", config={"seed": 1, "num_rounds": 5}, records=records_of(4), num_rounds=5)),
            ]
        )
        (line,) = found.panels[0].lines
        assert [y is None for _, y in line.points] == [False, False, True, False]  # round 5: only one run has got there
        assert len(line.band) == 3 and [len(piece) for piece in paper._band_pieces(line)] == [2, 1]

    def test_arms_are_lines_and_one_may_be_chosen(self, run):
        records = [
            {"round": r, "seconds": 2.0, "weights_hash": f"{r}", "a/test_accuracy": 0.1 * r, "b/test_accuracy": 0.2}
            for r in range(1, 4)
        ]
        path = run(config={"arms": {"a": {}, "b": {}}}, records=records)
        assert [line.label for line in picture(runs_in(path)).lines] == ["a", "b"]
        (line,) = picture(runs_in(f"{path}:a")).lines
        assert line.label == "a" and [y for _, y in line.points] == pytest.approx([0.1, 0.2, 0.3])


class TestGroups:
    def test_by_an_option_over_everything_else_with_a_remark(self, sweep):
        found = picture(runs_in(sweep), keys=["partition.num_clients"])
        (line,) = found.lines
        assert line.num_runs == 5 and line.label == "num clients = 10" and not line.repeats
        assert any(RATE in remark for remark in found.remarks) and "means over 5 runs" in found.caption

    def test_by_several_keys_by_classes_and_by_names(self, run):
        adam = {"client_optimizer": {"_target_": "fedlab.algorithms.optimizers.Adam", "learning_rate": 0.001, "beta_1": 0.9}}
        runs = runs_in(run("a"), run("b", config=adam), run("c", config={"seed": 1}))
        assert [group.label for group in grouped(runs, ["client_optimizer"])] == ["Sgd", "Adam"]
        assert [group.label for group in grouped(runs, ["client_optimizer", "seed"])] == [
            "Sgd, seed = 0",
            "Sgd, seed = 1",
            "Adam, seed = 0",
        ]
        assert [group.label for group in grouped(runs, ["client_optimizer.momentum"])] == ["momentum = 0", "momentum –"]
        assert len(grouped(runs, ["run"])) == 3 and [g.label for g in grouped(runs, ["name"])] == ["digits/fedavg"]

    def test_numbers_are_in_order(self, run):
        runs = runs_in(*(run(f"r{i}", config={RATE: rate}) for i, rate in enumerate((10, 9.5, 0.2))))
        assert [group.settings[RATE] for group in grouped(runs)] == [0.2, 9.5, 10]

    def test_an_unknown_key_names_one_that_is_near(self, sweep):
        with pytest.raises(ConfigError, match=r"no run has an option learning_rate to group by\. Did you mean 'client_opt"):
            grouped(runs_in(sweep), ["learning_rate"])


def png_size(data):
    return struct.unpack(">II", data[16:24])


def streams(pdf):
    return b"\n".join(
        zlib.decompress(body) for body in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", pdf, re.DOTALL) if body[:1] == b"x"
    )


class TestFiles:
    def test_pdf_embeds_true_type_fonts_at_the_width_of_the_column(self, sweep):
        pdf = paper.drawn(picture(runs_in(sweep)), "pdf", 3.25)
        assert b"/FontFile2" in pdf and b"/Type3" not in pdf and b"/CreationDate" not in pdf
        assert re.search(rb"/MediaBox *\[ *0 0 234(\.\d+)? ", pdf)
        assert b"BT" in streams(pdf)  # letters are text, so that a reader can search them

    def test_svg_needs_no_font_and_png_has_300_dots_per_inch(self, sweep):
        found = picture(runs_in(sweep))
        svg = ET.fromstring(paper.drawn(found, "svg", 5.5, 2.0))
        assert (svg.get("width"), svg.get("height")) == ("396pt", "144pt")
        assert not list(svg.iter("{http://www.w3.org/2000/svg}text"))
        assert png_size(paper.drawn(found, "png", 5.5, 2.0)) == (1650, 600)

    def test_every_mark_is_named(self, sweep):
        found = picture(runs_in(sweep), metrics=["test_accuracy", "test_loss"])
        with paper._settings():
            figure = paper._figure(found, 5.5, None, ())
        texts = [text.get_text() for text in figure.legends[0].get_texts()]
        assert texts == ["learning rate = 0.1 (n = 3)", "learning rate = 0.5 (n = 2)", "mean ± 1 standard deviation"]
        assert [(axes.get_xlabel(), axes.get_ylabel()) for axes in figure.axes] == [
            ("round", "test accuracy (%)"),
            ("round", "test loss (nats)"),
        ]
        styles = [(line.get_color(), line.get_linestyle(), line.get_marker()) for line in figure.axes[0].lines]
        assert styles == [(line.get_color(), line.get_linestyle(), line.get_marker()) for line in figure.axes[1].lines]
        assert all(len(set(column)) == 2 for column in zip(*styles))

    def test_lines_differ_without_colours_too(self):
        styles = [paper._style(i) for i in range(30)]
        assert len({str(style) for style in styles}) == 30
        assert len({(str(style["linestyle"]), style["marker"]) for style in styles[:20]}) == 20

    def test_bytes_are_the_same_in_another_process(self, sweep, tmp_path):
        """Whatever the hash seed and the user's own settings of matplotlib."""
        (tmp_path / "matplotlibrc").write_text("font.size: 20\nsavefig.dpi: 10\n")
        plotted = fedlab.plot(sweep, x="bytes", width=2)
        for kind in ("pdf", "svg", "png"):
            plotted.save(tmp_path / f"here.{kind}")
        made = f"plotted = fedlab.plot({str(sweep)!r}, x='bytes', width=2)"
        code = f"import fedlab; {made}\nfor kind in ('pdf', 'svg', 'png'): plotted.save('there.' + kind)"
        own = {"PYTHONHASHSEED": "7", "MATPLOTLIBRC": str(tmp_path / "matplotlibrc")}
        subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, **own}, check=True)
        for kind in ("pdf", "svg", "png"):
            assert (tmp_path / f"here.{kind}").read_bytes() == (tmp_path / f"there.{kind}").read_bytes(), kind

    def test_a_label_may_contain_a_formula_that_matplotlib_knows(self, sweep):
        assert paper.drawn(picture(runs_in(sweep), labels=(r"$\alpha = 0.1$", "costs 5$")), "svg", 3.25)
        with pytest.raises(ConfigError, match=r"the label \$\\ours\$ \(n = 2\) contains a formula that cannot be drawn"):
            paper.drawn(picture(runs_in(sweep), labels=("x", r"$\ours$")), "svg", 3.25)

    def test_a_derived_label_contains_no_formula(self, run):
        names = ["$\\ours$", "5$-6$"]
        runs = [read_run(run(name, records=[{"round": 1, "loss": 1.0}, {"round": 2, "loss": 0.5}])) for name in names]
        svg = paper.drawn(picture(runs, metrics=["loss"], keys=["run"]), "svg", 3.25).decode()
        assert all(f"{name} -->" in svg for name in names)  # matplotlib writes the text beside its outline

    def test_a_logarithmic_axis_needs_positive_values(self, run):
        found = picture([read_run(run(records=[{"round": 1, "norm": 0.0}, {"round": 2, "norm": 2.0}]))], metrics=["norm"])
        with pytest.raises(ConfigError, match="--log y: norm has values that are not positive"):
            paper.drawn(found, "svg", 3.25, log="y")
        paper.drawn(found, "svg", 3.25, log="x")


class TestVerb:
    def test_a_picture_with_its_caption(self, sweep, tmp_path, capsys):
        words = [str(sweep), "--x", "bytes", "--y", "test_accuracy", "--y", "test_loss", "--group-by", RATE]
        options = ["--band", "range", "--width", "text", "--height", "3", "--log", "x", "--label", "slow", "--label", "fast"]
        assert main(["plot", *words, *options, "--out", str(tmp_path / "a.svg")]) == 0
        out = capsys.readouterr().out
        assert "a.svg" in out and "caption: Test accuracy (%) and test loss (nats) over traffic of all clients (MB)." in out
        assert ET.parse(tmp_path / "a.svg").getroot().get("width") == "396pt"

    @pytest.mark.parametrize(
        ("options", "line"),
        [
            (["--out", "a.jpg"], "--out a.jpg: the name must end in .pdf, .svg or .png."),
            (["--out", "."], "--out . is a folder: name a file in it, such as picture.pdf."),
            (["--out", "gone/a.pdf"], "--out gone/a.pdf: there is no folder gone."),
            ([], "the following arguments are required: --out. See"),
            (["--out", "a.pdf", "--x", "hours"], "argument --x: invalid choice: 'hours'"),
            (["--out", "a.pdf", "--width", "0.5"], "'0.5' is not a number of inches from 1 to 30, nor column, text, wide."),
            (
                ["--out", "a.pdf", "--y", "test_acuracy"],
                "no run has a metric test_acuracy. Did you mean 'test_accuracy'? Metrics: ",
            ),
            (["--out", "a.pdf", "--group-by", "alpha"], "no run has an option alpha to group by."),
            (["--out", "a.pdf", "--label", "x"], "1 label for 2 lines: give one for each of learning rate = 0.1; learning rate"),
            (["--out", "a.pdf", "--label", "x", "--label", "x"], "a label is given twice"),
        ],
    )
    def test_a_mistake_is_one_line(self, sweep, capsys, monkeypatch, options, line):
        monkeypatch.chdir(sweep.parent)
        assert main(["plot", "sweep", *options]) == 2
        err = capsys.readouterr().err
        assert line in err and err.count("\n") == 1 and err.startswith("fedlab plot: ")
        assert not list(sweep.parent.glob("a.*"))

    def test_what_is_left_out_is_named(self, run, tmp_path, capsys, monkeypatch):
        monkeypatch.chdir(tmp_path)
        run("all/late", config={"seed": 1}, status="failed", failure="x", num_rounds=20)
        run("all/done"), run("all/none", config={"seed": 2}, records=[], status="interrupted")
        (tmp_path / "all" / "broken").mkdir()
        (tmp_path / "all" / "broken" / "manifest.json").write_text("{")
        assert main(["plot", "all", "--out", "a.pdf", "--group-by", "name"]) == 1
        found = capsys.readouterr()
        assert "fedlab plot: left out: " in found.err and "broken" in found.err.splitlines()[0]
        assert "note: all/late failed after 10 of 20 rounds: the line of its group ends there." in found.out
        assert "note: left out: all/none has completed no round." in found.out
        assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")


class TestLibrary:
    def test_the_same_lines_as_rows_and_a_picture_in_a_notebook(self, sweep, tmp_path):
        plotted = fedlab.plot(sweep, y="test_loss", band="range", width=3, height=2)
        row = plotted.rows[1]
        assert (row["metric"], row["line"], row["runs"], row["x"]) == ("test_loss", "learning rate = 0.1", 3, 2)
        assert row["low"] == row["high"] == row["mean"] == pytest.approx(1.1)
        assert png_size(plotted._repr_png_()) == (900, 600) and plotted.save(tmp_path / "a.png").read_bytes()[1:4] == b"PNG"
        one = fedlab.plot(fedlab.open_run(sweep / "0.1-0"))
        assert one.rows[0]["low"] is None and one.caption == "Test accuracy (%) over rounds."

    def test_a_wrong_choice_is_an_error(self, sweep, tmp_path):
        for options, line in (
            ({"x": "hours"}, "x='hours': choose one of round, bytes"),
            ({"width": "huge"}, "width='huge': give inches from 1 to 30 or column, text, wide"),
            ({"height": 0.1}, "height=0.1: give inches"),
            ({"log": "z"}, "log='z': choose one of x, y, both"),
        ):
            with pytest.raises(fedlab.ConfigError, match=line):
                fedlab.plot(sweep, **options)
        with pytest.raises(fedlab.ConfigError, match=r"must end in \.pdf, \.svg or \.png"):
            fedlab.plot(sweep).save(tmp_path / "a.txt")

    def test_damage_is_a_warning(self, sweep, tmp_path):
        copy = shutil.copytree(sweep, tmp_path / "sweep")
        (copy / "0.1-0" / "manifest.json").write_text("{")
        with pytest.warns(UserWarning, match=r"left out: .*manifest\.json"):
            assert fedlab.plot(copy).rows[0]["runs"] == 2

    def test_an_interrupted_file_of_records_ends_the_line(self, run):
        path = run(status="running", records=records_of(3), num_rounds=9)
        MetricsFile(path / "metrics.jsonl", records_of(2)).close()
        plotted = fedlab.plot(path)
        assert [row["x"] for row in plotted.rows] == [1, 2] and any("after 2 of 9 rounds" in r for r in plotted.remarks)
