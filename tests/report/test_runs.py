"""`fedlab runs`: what is listed, in which order, and how fast."""

from __future__ import annotations

import cProfile
import json
import pstats

import pytest

from fedlab.cli.main import main
from fedlab.report.listing import COLUMNS
from tests.report.conftest import records_of, write_run


@pytest.fixture
def listing(capsys):
    """Runs the verb with --json and returns the rows."""

    def ask(*args: object) -> list:
        assert main(["runs", *map(str, args), "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return ask


@pytest.fixture
def several(run, tmp_path):
    run("a", started="2026-01-01T00:00:00+00:00", summary={"test_accuracy": 0.9})
    run("b", started="2026-01-03T00:00:00+00:00", summary={"test_accuracy": 0.7}, config={"client_optimizer.learning_rate": 0.5})
    run("c", started="2026-01-02T00:00:00+00:00", status="failed", failure="x", records=[], num_rounds=8, name="mnist/krum")
    private = [{**r, "epsilon": 0.35 * r["round"]} for r in records_of(10)]
    run("d", started="2026-01-04T00:00:00+00:00", status="running", num_rounds=20, records=private)
    return tmp_path


def names(rows):
    return [row["path"].rpartition("/")[2] for row in rows]


def test_the_newest_is_last(several, listing):
    rows = listing(several)
    assert names(rows) == ["a", "c", "b", "d"]
    assert [row["status"] for row in rows] == ["finished", "failed", "finished", "interrupted"]  # nobody holds d's lock
    assert rows[3]["epsilon"] == 3.5 and rows[3]["rounds"] == 10 and rows[3]["wanted"] == 20
    assert rows[0]["accuracy"] == 0.9 and rows[1]["accuracy"] is None and rows[0]["config"]["seed"] == 0


@pytest.mark.parametrize(
    ("args", "order"),
    [
        (["--sort", "accuracy"], ["b", "a", "d", "c"]),
        (["--sort", "accuracy", "--reverse"], ["d", "a", "b", "c"]),
        (["--sort", "status"], ["c", "a", "b", "d"]),
        (["--sort", "client_optimizer.learning_rate", "--reverse"], ["b", "a", "c", "d"]),
        (["status=finished"], ["a", "b"]),
        (["status=finished", "client_optimizer.learning_rate=.5"], ["b"]),
        (["name=mnist/*"], ["c"]),
        (["client_optimizer=sgd", "--sort", "run"], ["a", "b", "c", "d"]),
        (["aggregator=Krum"], []),
        (["data.dir=null", "seed=0", "--sort", "rounds"], ["c", "a", "b", "d"]),
    ],
)
def test_sorted_and_filtered(several, listing, args, order):
    assert names(listing(several, *args)) == order


@pytest.mark.parametrize("key", list(COLUMNS))
def test_every_column_sorts(several, listing, key):
    assert len(listing(several, "--sort", key)) == 4


@pytest.mark.parametrize(
    ("args", "hint"),
    [
        (["--sort", "acuracy"], "Did you mean 'accuracy'?"),
        (["client_optimiser.learning_rate=1"], "Did you mean 'client_optimizer.learning_rate'?"),
        (["nowhere"], "no folder nowhere"),
    ],
)
def test_a_slip_is_named_with_what_is_near(several, capsys, args, hint):
    assert main(["runs", str(several), *args]) == 2
    error = capsys.readouterr().err
    assert hint in error and error.count("\n") == 1


def test_a_table_of_plain_lines(several, capsys):
    assert main(["runs", str(several)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == [
        "run",
        "name",
        "status",
        "rounds",
        "accuracy",
        "loss",
        "epsilon",
        "duration",
        "started",
        "differs",
    ]
    assert len(lines) == 5 and "10/20" in lines[4] and "│" not in lines[1]


def test_rows_say_in_what_they_differ(run, tmp_path, capsys):
    adam = {"client_optimizer": {"_target_": "fedlab.algorithms.optimizers.Adam", "learning_rate": 0.001, "beta_1": 0.9}}
    for name, config in {"a": {"seed": 1}, "b": {"seed": 2, **adam}, "c": {"seed": 2, "model.dropout": 0.5}}.items():
        run(name, config=config, started=f"2026-01-0{'abc'.index(name) + 1}T00:00:00+00:00")
    assert main(["runs", str(tmp_path)]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    told = [row[head.index("differs") :] for row in rows]
    assert [("seed 1" in t, "seed 2" in t) for t in told] == [(True, False), (False, True), (False, True)]
    assert "client_optimizer Adam" in told[1] and "beta_1" not in told[1]  # which comes with the class
    assert main(["runs", str(tmp_path / "a")]) == 0 and "differs" not in capsys.readouterr().out


def test_broken_folders_are_named_and_the_others_listed(several, capsys):
    for name, content in {"e": "{", "f": "[]", "g": "{}"}.items():
        (several / name).mkdir()
        (several / name / "manifest.json").write_text(content)
    assert main(["runs", str(several)]) == 1
    found = capsys.readouterr()
    assert len(found.out.splitlines()) == 5
    left_out = [line for line in found.err.splitlines() if "left out" in line]
    assert [name for name in "abcdefg" if any(str(several / name) in line for line in left_out)] == ["e", "f", "g"]


def test_no_runs_is_a_hint_and_no_error(tmp_path, capsys, monkeypatch, several):
    assert main(["runs", str(several), "seed=5"]) == 0 and "None of 4 runs has seed=5" in capsys.readouterr().out
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    for args in ([], ["."]):
        assert main(["runs", *args]) == 0
        out = capsys.readouterr().out
        assert out.startswith("No runs ") and out.count("\n") == 1
    assert main(["runs", "--json"]) == 0 and capsys.readouterr().out == "[]\n"


def test_outputs_and_multirun_are_looked_at_unless_told(run, tmp_path, listing, monkeypatch):
    run("outputs/x"), run("multirun/sweep/0"), run("elsewhere/y")
    monkeypatch.chdir(tmp_path)
    assert names(listing("--sort", "run")) == ["0", "x"] and names(listing("elsewhere")) == ["y"]


def test_hundreds_of_runs_take_work_in_proportion_and_little_each(tmp_path, capsys):
    """Work is counted in calls of functions, which depend neither on the processor nor on its load. 3,000 runs take about 1 s."""
    template = write_run(tmp_path / "few" / "0", records=records_of(3))
    content = {name: (template / name).read_text() for name in ("manifest.json", "summary.json", "metrics.jsonl")}
    calls = {}
    for folder, count in (("few", 40), ("many", 400)):
        for i in range(folder == "few", count):
            (tmp_path / folder / str(i)).mkdir(parents=True)
            for name, text in content.items():
                (tmp_path / folder / str(i) / name).write_text(text)
        command = ["runs", str(tmp_path / folder), "--sort", "accuracy", "seed=0"]
        assert main(command) == 0  # makes ready what is made once
        assert len(capsys.readouterr().out.splitlines()) == count + 1
        profile = cProfile.Profile()
        assert profile.runcall(main, command) == 0
        capsys.readouterr()
        calls[folder] = pstats.Stats(profile).total_calls
    assert calls["many"] < 11 * calls["few"] and calls["many"] < 400 * 2_000
