"""A real run writes its page and what the page is made from; where it cannot, the run is none the worse."""

from __future__ import annotations

import csv
import json
import subprocess
import sys

import pytest

from fedlab.archive.clients import read_labels, read_scores
from fedlab.cli.main import main
from tests.report.conftest import read_page

FAST = ["num_rounds=2", "data.max_examples=200", "model.hidden=[8]", "partition=quantity", "partition.num_clients=6"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run whose page has a folder in its way."""
    folder = tmp_path_factory.mktemp("real") / "run"
    (folder / "report.html").mkdir(parents=True)
    command = [sys.executable, "-m", "fedlab.cli.main", "train", *FAST, "-q", f"hydra.run.dir={folder}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (folder / "stderr").write_text(done.stderr)
    return folder


def test_a_page_that_cannot_be_written_costs_one_line(folder):
    line = (folder / "stderr").read_text()
    assert line.startswith("fedlab: the report of the run could not be written: ") and line.count("\n") == 1
    assert json.loads((folder / "manifest.json").read_text())["status"] == "finished"


def test_the_clients_are_those_of_the_summary(folder):
    scores, labels = read_scores(folder / "clients.csv"), read_labels(folder / "partition.csv")
    summary = json.loads((folder / "summary.json").read_text())
    assert [s.client for s in scores] == [c.client for c in labels] and len(scores) == 6
    assert [s.examples for s in scores] == [sum(c.counts) for c in labels]
    assert sum(s.accuracy for s in scores) / 6 == pytest.approx(summary["client_accuracy_mean"])
    assert min(s.accuracy for s in scores) == summary["client_accuracy_worst"]
    assert all(abs(s.accuracy * s.examples - round(s.accuracy * s.examples)) < 1e-6 and s.loss > 0 for s in scores)


def test_the_page_can_be_written_later(folder, capsys):
    (folder / "report.html").rmdir()
    assert main(["report", str(folder)]) == 0
    page = read_page(folder / "report.html")
    assert page.sections == ["result", "curves", "clients", "data", "cost", "configuration", "environment"]
    with open(folder / "metrics.csv") as file:
        newest = list(csv.DictReader(file))[-1]
    assert f"{float(newest['test_accuracy']):.2%}" in page.text
