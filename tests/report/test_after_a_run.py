"""A real run writes its page and what the page is made from; where it cannot, the run is none the worse."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import shutil
import subprocess
import sys

import pytest

from fedlab.archive import read_run
from fedlab.archive.clients import read_labels, read_scores
from fedlab.cli.main import main
from fedlab.config import composing
from fedlab.config.rebuilding import continued
from fedlab.errors import FedlabError
from fedlab.report.run_report import RunReport
from fedlab.run.job import Job, run
from fedlab.run.resuming import resume
from tests.report.conftest import read_page

FAST = ["num_rounds=2", "data.max_examples=200", "model.hidden=[8]", "partition=quantity", "partition.num_clients=6"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tensorflow):
    """A run whose page has a folder in its way."""
    folder = tmp_path_factory.mktemp("real") / "run"
    (folder / "report.html").mkdir(parents=True)
    with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.redirect_stderr(io.StringIO()) as errors:
        assert main(["train", *FAST, "-q", f"hydra.run.dir={folder}"]) == 0
    (folder / "stdout").write_text(printed.getvalue())
    (folder / "stderr").write_text(errors.getvalue())
    return folder


def test_a_page_that_cannot_be_written_costs_one_line_and_quiet_prints_nothing_else(folder):
    assert (folder / "stdout").read_text() == ""
    line = (folder / "stderr").read_text()
    assert line.startswith("fedlab train: the report of the run could not be written: ") and line.count("\n") == 1
    assert json.loads((folder / "manifest.json").read_text())["status"] == "finished"


def test_the_clients_are_those_of_the_summary(folder):
    scores, labels = read_scores(folder / "clients.csv"), read_labels(folder / "partition.csv")
    summary = json.loads((folder / "summary.json").read_text())
    assert [s.client for s in scores] == [c.client for c in labels] and len(scores) == 6
    assert [s.examples for s in scores] == [sum(c.counts) for c in labels]
    assert sum(s.score for s in scores) / 6 == pytest.approx(summary["client_accuracy_mean"])
    assert min(s.score for s in scores) == summary["client_accuracy_worst"]
    assert all(abs(s.score * s.examples - round(s.score * s.examples)) < 1e-6 and s.loss > 0 for s in scores)


def test_the_page_can_be_written_later(folder, capsys):
    (folder / "report.html").rmdir()
    assert main(["report", str(folder)]) == 0
    page = read_page(folder / "report.html")
    assert page.sections == ["result", "curves", "clients", "data", "cost", "configuration", "environment"]
    with open(folder / "metrics.csv") as file:
        newest = list(csv.DictReader(file))[-1]
    assert f"{float(newest['test_accuracy']):.2%}" in page.text


class Killed(RunReport):
    """Copies the folder, as it is when the pictures are about to be drawn, to killed/ beside it."""

    def draw(self, folder):
        shutil.copytree(folder.path, folder.path.parent / "killed")
        super().draw(folder)


class Failing(RunReport):
    def draw(self, folder):
        raise RuntimeError("no font")


@pytest.fixture(scope="module")
def ends(tmp_path_factory, tensorflow):
    """once/: a run with its pictures; killed/: it was killed before they were drawn; failed/: they could not be drawn."""
    root = tmp_path_factory.mktemp("ends")
    composed = composing.compose_run([*FAST, "logger=[]"], None)
    job = Job(composing.build_experiment(composed.config), composed.config, "digits/fed_avg", "fedlab train")
    run(job, root / "once", Killed(), lambda line: None)
    with pytest.raises(FedlabError, match=r"pictures could not be drawn: RuntimeError: no font\. To draw them again: fedlab"):
        run(job, root / "failed", Failing(), lambda line: None)
    return root


def results(path):
    run = read_run(path)
    records, summary = ([{k: v for k, v in r.items() if "seconds" not in k} for r in rs] for rs in (run.records(), [run.summary]))
    return records, summary, (path / "clients.csv").read_text()


def test_the_inventory_seals_the_pictures(ends):
    run = read_run(ends / "once")
    assert run.status == "finished" and {"curves.png", "partition.png"} <= set(run.inventory.files)
    assert "pictures" in run.manifest["seconds"] and (ends / "once" / "report.html").is_file()


@pytest.mark.parametrize(("name", "status"), [("killed", "interrupted"), ("failed", "failed")])
def test_a_run_without_pictures_keeps_its_results_and_gets_them_when_it_is_resumed(ends, name, status):
    path = ends / name
    assert read_run(path).status == status and not list(path.glob("*.png"))
    assert results(path) == results(ends / "once")
    resume(path, lambda run: continued(run, []), "fedlab train", RunReport(), lambda line: None)
    assert read_run(path).status == "finished" and results(path) == results(ends / "once")
    for picture in ("curves.png", "partition.png"):
        assert picture in read_run(path).inventory.files
        assert (path / picture).read_bytes() == (ends / "once" / picture).read_bytes()


SCRIPT = """
import sys
import fedlab
from fedlab.report.run_report import RunReport

draw = RunReport.draw

def watched(self, folder):
    loaded = [name for name in sys.modules if name.split(".")[0] in ("matplotlib", "jinja2") or name.startswith("fedlab.report.")]
    assert loaded == ["fedlab.report.run_report"], loaded
    draw(self, folder)
    assert "matplotlib" in sys.modules

RunReport.draw = watched
print(fedlab.run("", *sys.argv[2:], folder=sys.argv[1]).status)
"""


def test_nothing_that_draws_is_imported_before_all_results_are_there(tmp_path):
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "run"), *FAST]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=1800)
    assert done.stdout == "finished\n", done.stderr
