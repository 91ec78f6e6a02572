"""The page of a sweep: the best first, its front unbeaten, its links leading somewhere."""

from __future__ import annotations

import json
import urllib.parse

import numpy as np
import pytest

from fedlab.cli.main import main
from fedlab.report.page import write_report
from fedlab.studies.sweep.page import write_sweep_report
from fedlab.studies.sweep.plots import curves, effects, parallel, parameter_axis, trade_off
from fedlab.studies.sweep.results import Job, Sweep, read_sweep
from tests.report.conftest import read_page, records_of, write_run

TWO = {"metrics": ["test_accuracy", "bytes_up_total"], "directions": ["maximize", "minimize"]}


def write_sweep(root, jobs=5, objective=None, **changes):
    """A sweep over learning rate and optimizer whose last job failed. Folder names are such as need quoting in a link."""
    objective = objective or {"metrics": ["test_accuracy"], "directions": ["maximize"]}
    described: list = []
    root.mkdir(exist_ok=True)
    for i in range(jobs):
        failed, folder = i == jobs - 1, f"job {i}#lr=0.1"
        records = records_of(6, ceiling=0.7 + 0.05 * i)
        options = {"status": "failed", "failure": "diverged"} if failed else {}
        write_report(write_run(root / folder, records=records, config={"client_optimizer.learning_rate": 10.0**-i}, **options))
        values = [records[-1]["test_accuracy"], 1000.0 * (i + 1)][: len(objective["metrics"])]
        described.append(
            {
                "number": i,
                "folder": folder,
                "parameters": {"client_optimizer.learning_rate": 10.0**-i, "client_optimizer": ["sgd", "adam"][i % 2]},
                "status": "failed" if failed else "finished",
                "objective": None if failed else values,
                "seconds": 12.3,
                "failure": "diverged <b>" if failed else None,
            }
        )
    content = {
        "sweep_version": 1,
        "name": "digits/fedavg",
        "command": "fedlab sweep client_optimizer.learning_rate=1,0.1",
        "status": "finished",
        "objective": objective,
        "parameters": ["client_optimizer.learning_rate", "client_optimizer"],
        "jobs": described,
        "best": [jobs - 2],
        "best_command": "fedlab train client_optimizer.learning_rate=0.001",
        **changes,
    }
    (root / "sweep.json").write_text(json.dumps(content))
    return root


def test_the_page(tmp_path):
    page = read_page(write_sweep_report(write_sweep(tmp_path / "s")))
    assert page.sections == ["best", "parameters", "curves", "jobs", "failures"]
    assert "fedlab train client_optimizer.learning_rate=0.001" in page.text and "5 jobs (4 finished, 1 failed)" in page.text
    assert "75.00%" in page.text and "diverged <b>" in page.text
    links = [link["href"] for link in page.all("a") if not link["href"].startswith("#")]
    assert len(links) == 5 and all((tmp_path / "s" / urllib.parse.unquote(link)).is_file() for link in links)
    assert not any(":" in link or link.startswith("/") for link in links)


def test_the_best_jobs_have_one_colour_and_the_others_another(tmp_path):
    for plot in curves(read_sweep(write_sweep(tmp_path / "s", best=[1, 3]))):
        assert dict(plot.legend) == {"jobs 1, 3, best": "s2 bold", "other jobs": "s8 thin"}
        drawn = {mark.css.removeprefix("line ") for mark in plot.marks if mark.css.startswith("line ")}
        assert drawn == {css for _, css in plot.legend}


def test_links_follow_the_page_to_another_folder(tmp_path):
    (tmp_path / "pages").mkdir()
    page = read_page(write_sweep_report(write_sweep(tmp_path / "s"), tmp_path / "pages" / "x.html"))
    links = [link["href"] for link in page.all("a") if not link["href"].startswith("#")]
    assert links and all((tmp_path / "pages" / urllib.parse.unquote(link)).is_file() for link in links)


def test_two_objectives_have_a_front(tmp_path):
    sweep = read_sweep(write_sweep(tmp_path / "s", objective=TWO))
    assert trade_off(sweep).legend[1][0] == "Pareto front" and len(parallel(sweep).columns) == 4
    assert "Pareto front" in read_page(write_sweep_report(tmp_path / "s")).text
    assert trade_off(read_sweep(write_sweep(tmp_path / "one"))) is None


@pytest.mark.parametrize("maximize", [(True, True), (True, False), (False, True), (False, False)])
def test_nothing_beats_the_front_and_it_beats_all_others(tmp_path, maximize):
    rng = np.random.default_rng(0)
    values = rng.integers(0, 12, (60, 2)).astype(float)
    jobs = tuple(Job(i, tmp_path, {}, "finished", tuple(v), None, None) for i, v in enumerate(values.tolist()))
    sweep = Sweep(tmp_path, "", "", "finished", ("a", "b"), maximize, (), jobs, (), None)
    signed = values * np.where(maximize, 1, -1)
    front = [job.number for job in sweep.front()]
    for i in range(60):
        beaten = any((signed[j] >= signed[i]).all() and (signed[j] > signed[i]).any() for j in range(60))
        assert beaten != (i in front)
    assert [values[i, 0] for i in front] == sorted(values[i, 0] for i in front)
    assert len(trade_off(sweep).marks) == 3


def test_parameters_of_every_kind_find_a_place():
    axis, places = parameter_axis("lr", [0.001, 0.1, 0.01])
    assert axis.scale.log and [text for _, text in axis.ticks] == ["0.001", "0.01", "0.1"] and places == [0.001, 0.1, 0.01]
    axis, places = parameter_axis("x", ["sgd", None, [128, 64], "sgd", True])
    assert [text for _, text in axis.ticks] == ["sgd", "null", "[128, 64]", "true"] and places == [0, 1, 2, 0, 3]
    axis, places = parameter_axis("epochs", [3, 3, 3])
    assert 0.2 < axis.scale.at(places[0]) < 0.8


@pytest.mark.parametrize(
    "changes",
    [{"jobs": 0, "best": [], "best_command": None}, {"best": [], "status": "running"}, {"parameters": []}],
    ids=["no jobs", "no best", "no parameters"],
)
def test_a_sweep_that_has_hardly_begun(tmp_path, changes):
    page = read_page(write_sweep_report(write_sweep(tmp_path / "s", **changes)))
    assert "best" in page.sections and "jobs" in page.sections


def test_jobs_whose_folders_are_gone_or_whose_objective_is_odd(tmp_path):
    root = write_sweep(tmp_path / "s")
    content = json.loads((root / "sweep.json").read_text())
    content["jobs"][0]["folder"] = "elsewhere"
    content["jobs"][1]["objective"] = [None]
    (root / "sweep.json").write_text(json.dumps(content))
    sweep = read_sweep(root)
    assert [job.number for job in sweep.ranked] == [3, 2, 0] and len(effects(sweep)) == 2
    links = [link["href"] for link in read_page(write_sweep_report(root)).all("a") if not link["href"].startswith("#")]
    assert len(links) == 4


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is damaged"),
        ('{"sweep_version": 2}', "is of version 2; this fedlab reads version 1"),
        ('{"sweep_version": 1}', "'objective' is missing"),
        ("[]", "is damaged"),
    ],
)
def test_a_damaged_sweep_takes_one_line(tmp_path, capsys, content, message):
    (tmp_path / "sweep.json").write_text(content)
    assert main(["report", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_the_verb_knows_a_sweep(tmp_path, capsys):
    assert main(["report", str(write_sweep(tmp_path / "s"))]) == 0
    assert capsys.readouterr().out.endswith("s/report.html\n") and (tmp_path / "s" / "report.html").is_file()
