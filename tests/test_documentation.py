"""What the documentation says is there: files that it names exist, and the examples of docs/adding/ run."""

from __future__ import annotations

import json
import pathlib
import re
import shlex
import sys

import pytest
import yaml

ROOT = pathlib.Path(__file__).parent.parent
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), *(ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "SECURITY"))]
# A path below a folder of the repository, where it is not part of a longer one or of an address
PATH = re.compile(r"(?<![\w/.-])((?:fedlab|conf|docs|tests|scripts|requirements|\.ci)/[\w./-]*\w/?)(?![\w*…])")
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
    missing = [path for path in named_paths(text) if not (ROOT / path).exists()]
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
# Page → what its example must leave in summary.json
EXAMPLES = {"aggregator": "test_accuracy", "data": "test_accuracy", "attack": "attack_membership_auc"}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_runs_as_it_is_written(name, tmp_path, monkeypatch, tensorflow, capsys):
    """On a tiny federation, whose options are added to the command of the page."""
    from fedlab.cli.main import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    commands = []
    for kind, text in BLOCK.findall((ROOT / "docs" / "adding" / f"{name}.md").read_text()):
        if kind == "console":
            commands += text.splitlines()
            continue
        path = pathlib.Path(text.splitlines()[0].removeprefix("# "))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert len(commands) == 1
    program, *words = shlex.split(commands[0])
    assert program == "fedlab"
    assert main([*words, *SMALL, "logger={}", "-q", "hydra.run.dir=run"]) == 0, capsys.readouterr().err
    summary = json.loads(pathlib.Path("run/summary.json").read_text())
    assert 0 <= summary[EXAMPLES[name]] <= 1
    if name == "attack":  # a page that knows nothing of this attack shows its metric
        assert "attack membership auc" in pathlib.Path("run/report.html").read_text()
    choice = next(word for word in words if word.startswith(("aggregator=", "data=", "attack=")))
    assert main(["train", "-cd", "my_conf", choice, "--help"]) == 0
    assert "default" in capsys.readouterr().out
