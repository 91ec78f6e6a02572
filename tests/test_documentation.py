"""What the documentation says is there: files that it names exist, and the examples of docs/adding/ run."""

from __future__ import annotations

import json
import pathlib
import re
import shlex
import sys

import numpy as np
import pytest
import yaml

from fedlab.types import Cohort

ROOT = pathlib.Path(__file__).parent.parent
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), *(ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "SECURITY"))]
# A path below a folder of the repository, where it is not part of a longer one or of an address
PATH = re.compile(r"(?<![\w/.-])((?:fedlab|conf|docs|tests|scripts|requirements|\.ci)/[\w./-]*\w/?)(?![\w*…])")
FIRST_LINE = re.compile(r"^```(?:python|yaml|jinja)\n(?:#|\{#) (\S+)", re.MULTILINE)  # of a block: the file to write
LINK = re.compile(r"\]\(([^)#:\s]*)(?:#([^)\s]*))?\)")


def named_paths(text: str) -> list[str]:
    """Paths in `text` from the root of the repository; patterns with capital words such as conf/model/NAME.yaml left out."""
    return [path for path in PATH.findall(text) if not re.search(r"\b[A-Z]{2,}\b", pathlib.Path(path).stem)]


def anchors(page: pathlib.Path) -> set[str]:
    """The addresses of the headings of a page, as code hosts make them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_that_is_named_exists(page):
    text = page.read_text()
    written = FIRST_LINE.findall(text)  # the files that the page tells its reader to write
    missing = [path for path in named_paths(text) if not (ROOT / path).exists() and path not in written]
    for link, anchor in LINK.findall(text):
        target = page.parent / link if link else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            missing.append(f"{link}#{anchor}")
    assert missing == []


def test_paths_are_found_in_a_text():
    text = "see `fedlab/run/train.py`, [x](docs/a.md), conf/model/NAME.yaml, https://x.org/docs/b.html and tests/aggregation/."
    assert named_paths(text) == ["fedlab/run/train.py", "docs/a.md", "tests/aggregation/"]


def test_the_citation_file_is_valid():
    """Types and keys as the schema of the Citation File Format 1.2.0 requires them."""
    import fedlab

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    known = {
        *("cff-version", "message", "title", "authors", "type", "abstract", "version", "license", "keywords", "references"),
        *("date-released", "repository-code", "url", "doi", "identifiers", "preferred-citation", "contact", "commit"),
    }
    assert set(citation) <= known
    assert citation["cff-version"] == "1.2.0" and citation["type"] in ("software", "dataset")
    assert all(isinstance(citation[key], str) and citation[key] for key in ("message", "title", "license", "version"))
    assert citation["authors"] == [{"name": "The fedlab authors"}]
    assert citation["license"] == "Apache-2.0" and citation["version"] == fedlab.__version__
    keywords = citation["keywords"]
    assert len(set(keywords)) == len(keywords) and all(isinstance(word, str) for word in keywords)


def test_hooks_are_local_and_run_what_make_runs():
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    assert [repo["repo"] for repo in config["repos"]] == ["local"]
    hooks = {hook["id"]: hook for hook in config["repos"][0]["hooks"]}
    assert set(hooks) == {"ruff", "ruff-format", "mypy"}
    for hook in hooks.values():
        assert hook["language"] == "system" and hook["entry"].startswith(".venv/bin/python -m ") and hook["name"]
    makefile = (ROOT / "Makefile").read_text()
    assert hooks["mypy"]["entry"] in makefile and hooks["ruff"]["entry"].removesuffix(" --force-exclude") in makefile


BLOCK = re.compile(r"^```(python|yaml|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SMALL = ["num_rounds=2", "partition=iid", "partition.num_clients=3", "cohort=all", "model=perceptron", "data.max_examples=90"]
# Page → a metric that its example must leave in summary.json, and its range
EXAMPLES = {
    "aggregator": ("test_accuracy", 0, 1),
    "data": ("test_accuracy", 0, 1),
    "attack": ("attack_membership_auc", 0, 1),
    "clock": ("simulated_seconds_total", 2 * 1, 2 * 30),  # two rounds, each of 1 or 30 seconds
    "cohort": ("test_accuracy", 0, 1),
    "partition": ("test_accuracy", 0, 1),
    "engine": ("test_accuracy", 0, 1),
}


def written(name: str) -> list[str]:
    """Writes the files of a page into the current folder; returns its commands."""
    commands = []
    for kind, text in BLOCK.findall((ROOT / "docs" / "adding" / f"{name}.md").read_text()):
        if kind == "console":
            commands += text.splitlines()
            continue
        path = pathlib.Path(text.splitlines()[0].removeprefix("# "))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return commands


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_runs_as_it_is_written(name, tmp_path, monkeypatch, tensorflow, capsys):
    """On a tiny federation, whose options are added to the command of the page."""
    from fedlab.cli.main import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (command,) = written(name)
    program, *words = shlex.split(command)
    assert program == "fedlab"
    chosen = {word.partition("=")[0] for word in words}
    small = [option for option in SMALL if option.partition("=")[0] not in chosen]
    assert main([*words, *small, "logger={}", "-q", "hydra.run.dir=run"]) == 0, capsys.readouterr().err
    summary = json.loads(pathlib.Path("run/summary.json").read_text())
    metric, least, most = EXAMPLES[name]
    assert least <= summary[metric] <= most
    if name == "attack":  # a page that knows nothing of this attack shows its metric
        assert "attack membership auc" in pathlib.Path("run/report.html").read_text()
    choice = next(word for word in words if word.startswith(f"{name}="))
    assert main(["train", "-cd", "my_conf", choice, "--help"]) == 0
    assert "default" in capsys.readouterr().out


def test_the_engine_of_the_page_computes_what_the_default_engine_computes(tmp_path, monkeypatch, lab):
    from fedlab.aggregation import CoordinateMedian
    from fedlab.algorithms import FedAvg, Scaffold
    from fedlab.models import Mlp

    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    written("engine")
    from my_engines import OneByOne

    inputs = lab.inputs(2) + lab.inputs(3, clients=[1])[2:]
    options = dict(aggregator=CoordinateMedian(), model=Mlp(hidden=(16,), dropout=0.5))  # stacks updates, and draws
    ours, theirs = lab.trainer(FedAvg(), engine=OneByOne(), **options).run(inputs), lab.trainer(FedAvg(), **options).run(inputs)
    for a, b in zip(ours.weights, theirs.weights):
        assert lab.distance(a, b) < 1e-5
    assert [sorted(m) for m in ours.metrics] == [sorted(m) for m in theirs.metrics]
    ours, theirs = (lab.training(Scaffold(), **given) for given in ({"engine": OneByOne()}, {}))  # clients keep state
    everyone = np.arange(len(lab.sizes))
    for round_input in lab.inputs(2):
        cohort = Cohort(round_input.round, everyone, np.zeros(0, np.int64))
        for training in (ours, theirs):
            training.next(cohort, round_input)
    assert lab.distance(*([np.asarray(w) for w in training.weights] for training in (ours, theirs))) < 1e-5
