"""`scripts/bench.py`, run as a user runs it, and what it makes of its figures. How fast anything is, no test says."""

from __future__ import annotations

import argparse
import importlib
import json
import pathlib
import subprocess
import sys

import psutil
import pytest

SCRIPTS = pathlib.Path(__file__).parents[2] / "scripts"
CONTENDERS = {"stock_tff", "fedlab_tff", "fedlab_compiled", "plain_tensorflow"}


@pytest.fixture
def rounds(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("bench.rounds").Rounds()


@pytest.fixture
def secure(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("bench.secure").Protocols()


@pytest.fixture
def measuring(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("bench.measure")


def run_of(seconds, accuracy=0.9):
    return {"seconds": seconds, "test_accuracy": accuracy, "peak_memory_bytes": 1, "seconds_to_round_1": 1.0}


def test_ratios_pair_the_runs_of_one_turn_and_leave_out_the_warm_up(rounds):
    result = rounds.summarize(
        {
            "fedlab_compiled": [run_of([9.0, 9.0, 1.0, 1.0]), run_of([9.0, 9.0, 2.0, 2.0])],
            "stock_tff": [run_of([0.1, 0.1, 3.0, 3.0]), run_of([0.1, 0.1, 10.0, 10.0])],
        }
    )
    assert result["ratios"] == {"stock_tff": {"median": 4.0, "min": 3.0, "max": 5.0}}
    assert result["contenders"]["stock_tff"]["seconds_per_round"] == {"median": 6.5, "min": 3.0, "max": 10.0}


def test_no_ratio_where_the_work_differs(rounds):
    runs = {"fedlab_compiled": [run_of([1.0] * 3)], "stock_tff": [run_of([9.0] * 3, accuracy=0.87)]}
    assert rounds.summarize(runs)["ratios"] is None


def test_what_a_command_leaves_behind_is_ended(measuring):
    start = "import subprocess, sys, time; p = subprocess.Popen(['sleep', '600']); print(p.pid); time.sleep(2)"
    measurement = measuring.measure([sys.executable, "-c", start])
    assert measurement.peak_memory_bytes > 0
    with pytest.raises(psutil.NoSuchProcess):
        psutil.Process(int(measurement.stdout))


def test_a_command_that_fails_says_why(measuring):
    with pytest.raises(measuring.CommandFailed, match="no such contender"):
        measuring.measure([sys.executable, "-c", "raise SystemExit('no such contender')"])


PROGRAM = """
import sys
sys.path.insert(0, {folder!r})
from exercise import Exercise, run
exercise = Exercise.load(sys.argv[1])
assert exercise.model == "perceptron" and len(exercise.cohorts) == 4 and exercise.x.shape[1:] == (60, 28, 28, 1)
run(sys.argv[2], (exercise.weights for _ in exercise.cohorts))
"""


@pytest.mark.slow
def test_a_rival_gets_the_work_and_is_measured_by_what_it_writes(rounds, measuring, monkeypatch, tmp_path):
    here = pathlib.Path(sys.prefix)
    program = tmp_path / "rival.py"
    program.write_text(PROGRAM.format(folder=str(SCRIPTS / "bench" / "rivals")))
    rivals = importlib.import_module("bench.rivals")
    monkeypatch.setitem(rivals.RIVALS, "idle", rivals.Rival("a rival that does nothing", here.name, str(program), ("W1",)))
    rounds.environments, rounds.only = here.parent, ("fedlab_compiled", "idle")
    assert [*rounds.contenders("W1")] == ["fedlab_compiled", "idle"]
    assert [*rounds.contenders("W2")] == ["fedlab_compiled"]
    folder = tmp_path / "work" / "0" / "1"
    folder.mkdir(parents=True)
    measurement = measuring.measure(rounds.command("idle", "W1", "digits", 2, folder))
    runs = {"idle": [rounds.record("idle", measurement, folder)]}
    rounds.complete({"fedlab_compiled": [], **runs}, "W1", "digits", tmp_path / "work")
    (record,) = runs["idle"]
    assert len(record["seconds"]) == 4
    assert record["seconds_to_round_1"] > 0
    assert record["test_accuracy"] < 0.3  # that of the initial weights


@pytest.mark.parametrize(
    "given, message",
    [
        (["--rivals", "nowhere"], "install the rivals by scripts/bench/rivals/environments.sh nowhere"),
        (["--only", "stock_tff"], "ratios are to fedlab_compiled; name it as well"),
    ],
)
def test_who_cannot_take_part_is_an_error(rounds, given, message, capsys):
    parser = argparse.ArgumentParser()
    rounds.add_arguments(parser)
    assert rounds.main(parser.parse_args(["--workloads", "W1", "--data", "digits", *given])) == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_contenders_do_the_same_work(tmp_path):
    options = ["--workloads", "W1", "--rounds", "2", "--repeats", "1", "--data", "digits", "--json", str(tmp_path / "out.json")]
    done = subprocess.run([sys.executable, str(SCRIPTS / "bench.py"), *options], capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "out.json").read_text())["workloads"]["W1"]
    assert set(result["contenders"]) == CONTENDERS
    assert set(result["ratios"]) == CONTENDERS - {"fedlab_compiled"}
    for figures in result["contenders"].values():
        assert figures["seconds_per_round"]["min"] > 0
        assert figures["seconds_to_round_1"]["min"] > 0
        assert figures["peak_memory_bytes"] > 1e8
        assert len(figures["runs"][0]["seconds"]) == 4
        assert figures["test_accuracy"] == pytest.approx(result["contenders"]["fedlab_compiled"]["test_accuracy"], abs=0.003)


def secure_run(seconds, abandoned=(), included=10, distance=0.0):
    n = len(seconds)
    figures = {"seconds": seconds, "bytes_up": [8] * n, "bytes_down": [4] * n, "included": [included] * n}
    lost = [i in abandoned for i in range(n)]
    return {**figures, "abandoned": lost, "distance_to_plain": distance, "peak_memory_bytes": 1}


def test_protocols_are_compared_with_plain_within_a_turn_and_by_rounds_that_were_not_abandoned(secure):
    result = secure.summarize(
        {
            "plain": [secure_run([9.0, 9.0, 2.0, 4.0, 4.0]), secure_run([9.0, 9.0, 1.0, 1.0, 1.0])],
            "masked": [secure_run([9.0, 9.0, 0.1, 6.0, 6.0], abandoned=[2]), secure_run([9.0, 9.0, 3.0, 3.0, 3.0])],
        }
    )
    masked = result["contenders"]["masked"]
    assert masked["ratio_of_medians"] == {"median": 2.25, "min": 1.5, "max": 3.0}
    assert masked["ratio_of_fastest"] == {"median": 3.0, "min": 3.0, "max": 3.0}
    assert masked["seconds_per_round"]["min"] == 3.0 and masked["abandoned"] == 1 and result["same_work"]


def test_a_protocol_that_loses_nobody_must_end_where_plain_does(secure):
    plain = secure_run([1.0] * 3)
    assert not secure.summarize({"plain": [plain], "masked": [secure_run([1.0] * 3, distance=0.5)]})["same_work"]
    assert secure.summarize({"plain": [plain], "masked": [secure_run([1.0] * 3, included=8, distance=0.5)]})["same_work"]


@pytest.mark.slow
def test_protocols_do_the_same_work(tmp_path, secure):
    options = ["--workloads", "S10", "--rounds", "1", "--repeats", "1", "--data", "digits", "--json", str(tmp_path / "out.json")]
    done = subprocess.run([sys.executable, str(SCRIPTS / "bench.py"), "secure", *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "out.json").read_text())["workloads"]["S10"]
    figures = result["contenders"]
    assert tuple(figures) == tuple(secure.contenders("S10"))
    assert all(0 < figures[name]["runs"][0]["distance_to_plain"] < 1e-3 for name in ("masked", "ckks"))
    assert figures["masked"]["bytes_up"] > 1.9 * figures["plain"]["bytes_up"]
    assert figures["ckks"]["bytes_up"] > 6 * figures["plain"]["bytes_up"]
    assert all(n < 10 for n in figures["masked, 30 % drop out"]["runs"][0]["included"])


def gan_run(seconds, moved=1.0, num_weights=10):
    return {"seconds": seconds, "cpu_seconds": seconds, "moved": moved, "num_weights": num_weights, "peak_memory_bytes": 1}


def test_gans_are_compared_within_a_turn_and_only_where_they_move_alike(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    gan = importlib.import_module("bench.gan").Gans()
    ours = [gan_run([9.0, 9.0, 1.0, 1.0]), gan_run([9.0, 9.0, 2.0, 2.0])]
    result = gan.summarize({"fedlab_compiled": ours, "plain_tensorflow": [gan_run([0.1, 0.1, 3.0]), gan_run([0.1, 0.1, 10.0])]})
    assert result["ratios"] == {"plain_tensorflow": {"median": 4.0, "min": 3.0, "max": 5.0}}
    for other in (gan_run([1.0] * 3, moved=5.0), gan_run([1.0] * 3, moved=float("nan")), gan_run([1.0] * 3, num_weights=9)):
        assert gan.summarize({"fedlab_compiled": ours, "plain_tensorflow": [other]})["ratios"] is None


def robust_run(cpu_seconds, difference=0.0):
    figures = {"seconds": cpu_seconds, "cpu_seconds": cpu_seconds, "difference_to_numpy": difference}
    return {**figures, "peak_memory_bytes": 8, "stack_bytes": 4}


@pytest.fixture
def robust(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("bench.robust")


def test_rules_are_compared_with_the_mean_and_numpy_within_a_turn(robust):
    runs = {
        "mean": [robust_run([9.0, 9.0, 1.0]), robust_run([9.0, 9.0, 2.0])],
        "krum": [robust_run([0.1, 0.1, 4.0]), robust_run([0.1, 0.1, 4.0])],
        "numpy_krum": [robust_run([0.1, 0.1, 8.0]), robust_run([0.1, 0.1, 40.0])],
    }
    ratios = robust.Rules().summarize(runs)["ratios"]
    assert ratios["krum"] == {
        "mean": {"median": 3.0, "min": 2.0, "max": 4.0},
        "numpy": {"median": pytest.approx(0.3), "min": pytest.approx(0.1), "max": pytest.approx(0.5)},
    }
    runs["krum"][1]["difference_to_numpy"] = 0.5
    assert robust.Rules().summarize(runs)["ratios"] is None


@pytest.mark.slow
def test_rules_and_their_numpy_loops_have_equal_results(robust, monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(robust.SIZES, "A50", (70, 5_000))
    parser, suite = argparse.ArgumentParser(), robust.Rules()
    suite.add_arguments(parser)
    options = ["--workloads", "A50", "--rounds", "1", "--repeats", "1", "--data", "digits", "--json", str(tmp_path / "out.json")]
    assert suite.main(parser.parse_args(options)) == 0
    result = json.loads((tmp_path / "out.json").read_text())["workloads"]["A50"]
    assert set(result["contenders"]) == set(suite.contenders("A50"))
    assert set(result["ratios"]["median"]) == {"mean", "numpy"} and "Krum, NumPy loop" in capsys.readouterr().out
    assert result["contenders"]["trimmed_mean"]["runs"][0]["difference_to_numpy"] < 1e-5
