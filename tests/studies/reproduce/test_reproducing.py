"""`fedlab reproduce` as a user runs it: a quick scorecard from the beginning to the end, and one that is interrupted."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.slow


def begin(*args: str, cwd: pathlib.Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "fedlab.cli.main", "reproduce", *args],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "140"},
        start_new_session=True,
    )


def reproduce(*args: str, cwd: pathlib.Path, code: int = 0) -> str:
    process = begin(*args, cwd=cwd)
    out, err = process.communicate(timeout=7200)
    assert process.returncode == code, out + err
    assert "Traceback" not in err and "Warning" not in err
    return out


def card(cwd: pathlib.Path, name: str) -> dict:
    return json.loads((cwd / "reproductions" / name / "scorecard.json").read_text())


@pytest.mark.parametrize("name", ["accounting", "secure_sums"])
def test_the_figures_that_verbs_compute_pass(tmp_path, name):
    reproduce(name, "--quick", cwd=tmp_path)
    asked = [row for row in card(tmp_path, name)["rows"] if row["asked"]]
    assert asked and {row["verdict"] for row in asked} == {"passed"}
    assert "finished before" in reproduce(name, "--quick", cwd=tmp_path)


def test_the_best_of_several_learning_rates_passes(tmp_path):
    reproduce("mcmahan2017", "--row", "digits_searched", cwd=tmp_path)
    rows = {row["name"]: row for row in card(tmp_path, "mcmahan2017")["rows"]}
    searched, rate = rows["digits_searched"], rows["digits_rate"]
    assert searched["verdict"] == rate["verdict"] == "passed" and "best of 3 settings" in searched["reason"]
    assert searched["mean"] <= rate["mean"] and rows["2nn_iid"]["verdict"] == "not run"
    (sweep,) = searched["runs"]
    assert (tmp_path / "reproductions" / "mcmahan2017" / sweep / "report.html").is_file()


@pytest.mark.parametrize("name", ["herbold2023", "split_learning", "andrew2021", "li2022"])
def test_a_quick_scorecard_passes(tmp_path, name):
    out = reproduce(name, "--quick", cwd=tmp_path)
    rows = card(tmp_path, name)["rows"]
    assert {row["verdict"] for row in rows if row["asked"]} == {"passed"}
    assert {row["verdict"] for row in rows if not row["asked"]} == {"not run"}
    assert all(row["name"] in out for row in rows)
    folder = tmp_path / "reproductions" / name
    assert (folder / "scorecard.html").is_file() and (folder / "scorecard.md").is_file()
    assert "finished before" in reproduce(name, "--quick", cwd=tmp_path)


def test_the_quick_rows_of_a_paper_on_digits_pass(tmp_path):
    """Without the row that needs MNIST."""
    out = reproduce("mcmahan2017", "--row", "digits_fed_avg", "--jobs", "2", cwd=tmp_path)
    assert "2 of the 2 rows asked for passed" in out and "not run: 2nn_iid, " in out


def test_an_interrupted_scorecard_goes_on(tmp_path):
    (tmp_path / "own" / "reproduce").mkdir(parents=True)
    options = "num_rounds=400, eval_every=100, data.max_examples=200, 'model.hidden=[8]', evaluation.per_client=false"
    (tmp_path / "own" / "reproduce" / "long.yaml").write_text(
        f"title: Long\npaper: Someone 2020\nrows:\n  a:\n    source: table 1\n    metric: test_accuracy\n"
        f"    experiment: digits/fedavg\n    overrides: [{options}]\n    rule: {{least: 0}}\n    minutes: 1\n"
    )
    process = begin("-cd", "own", "long", cwd=tmp_path)
    metrics, deadline = tmp_path / "reproductions" / "long" / "runs", time.monotonic() + 1800
    while not any(len(path.read_bytes().splitlines()) > 2 for path in metrics.glob("*/metrics.jsonl")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=7200)
    assert process.returncode == 143, out + err
    assert "to go on: fedlab reproduce long -cd own" in out
    assert [row["verdict"] for row in card(tmp_path, "long")["rows"]] == ["not run"]
    reproduce("-cd", "own", "long", cwd=tmp_path)
    assert [row["verdict"] for row in card(tmp_path, "long")["rows"]] == ["passed"]
    (manifest,) = metrics.glob("*/manifest.json")
    assert json.loads(manifest.read_text())["resumed"]
