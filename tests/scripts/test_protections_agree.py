"""`scripts/protections_agree.py`: what it reads from run folders, and whom it refuses."""

from __future__ import annotations

import importlib
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from fedlab.archive import RunFolder, checkpoint, make_folder
from fedlab.archive.folder import write_json

ROOT = pathlib.Path(__file__).parents[2]
SCRIPTS = ROOT / "scripts"
WEIGHTS = [np.array([[1.0, 2.0], [3.0, 4.0]], np.float32), np.array([5.0], np.float32)]
BYTES = {"Plain": 6_000_000, "Masked": 12_000_000, "Ckks": 60_000_000}
AFTER_THEM = np.array([100.0, 100.0], np.float32)  # of the server's optimizer, say: no weights


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("protections_agree")


@pytest.fixture
def run_in(tmp_path):
    """Writes a run whose weights are WEIGHTS, one of them moved, and half as far the round before."""

    def write(protection, name=None, moved_by=0.0, seed=0, status="finished", rounds=(3, 4)):
        folder = RunFolder(make_folder(tmp_path / (name or protection.lower())))
        config = {"seed": seed, "secure": {"_target_": f"fedlab.secure.{protection}"}, "logger": {"of": protection}}
        write_json(
            folder.manifest,
            {"status": status, "config": config, "num_rounds": 4, "rounds_completed": 4},
        )
        folder.metrics.write_text("".join(f'{{"round": {done}, "weights_hash": "{done}"}}\n' for done in range(1, 5)))
        if status == "finished":
            figures = {"test_accuracy": 0.875, "bytes_up_total": BYTES[protection], "seconds_per_round": 0.125}
            folder.write_summary({"num_rounds": 4, "num_weights": 5, **figures})
        for round in rounds:
            move = np.float32(moved_by * 2.0 ** (round - 4))
            state = [WEIGHTS[0] + np.float32([[0, 0], [move, 0]]), WEIGHTS[1], AFTER_THEM + 9 * move]
            checkpoint.save(folder.checkpoints, checkpoint.Checkpoint(round, state), keep=len(rounds))
        return folder

    return write


def cells(text):
    return [[cell.strip() for cell in line.strip("| ").split("|")] for line in text.splitlines()[2:]]


def test_the_largest_difference_of_a_weight_is_told_early_and_late_and_of_weights_only(script, run_in, tmp_path, capsys):
    run_in("Ckks", moved_by=-0.25)
    run_in("Plain")
    run_in("Masked", moved_by=0.0)
    assert script.main([str(tmp_path)]) == 0
    assert cells(capsys.readouterr().out) == [
        ["`plain`", "–", "–", "87.50 %", "1.50", "0.12"],
        ["`masked`", "0.0e+00", "0.0e+00", "87.50 %", "3.00", "0.12"],
        ["`ckks`", "1.2e-01", "2.5e-01", "87.50 %", "15.00", "0.12"],
    ]


@pytest.mark.parametrize(
    ("others", "words"),
    [
        ([dict(protection="Masked", seed=1)], ["masked", "differs from the plain run in seed", "only secure may differ"]),
        ([dict(protection="Masked", name="one"), dict(protection="Masked", name="two")], ["two runs with secure=masked"]),
        ([dict(protection="Masked", status="failed")], ["is failed", "type the command of the sweep again"]),
        ([dict(protection="Masked", rounds=())], ["holds no checkpoint"]),
        ([dict(protection="Masked", rounds=(2, 4))], ["rounds [2, 4], the plain run of [3, 4]", "checkpoint.every=1"]),
    ],
)
def test_runs_that_cannot_be_compared_are_refused(script, run_in, tmp_path, capsys, others, words):
    run_in("Plain", name="a")
    for other in others:
        run_in(**other)
    assert script.main([str(tmp_path)]) == 1
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert all(word in line for word in words)


def test_without_a_plain_run_there_is_nothing_to_hold_the_others_to(script, run_in, tmp_path, capsys):
    run_in("Ckks")
    assert script.main([str(tmp_path)]) == 1
    assert "no run with secure=plain" in capsys.readouterr().err


@pytest.mark.slow
def test_one_training_under_three_protections_gives_one_model(tmp_path):
    sweep = tmp_path / "sweep"
    train = ["train", "+experiment=mnist/protections_agree", "data=digits", "data.max_examples=200", "num_rounds=2"]
    command = [sys.executable, "-m", "fedlab.cli.main", *train, "model=perceptron", f"hydra.sweep.dir={sweep}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True)
    command = [sys.executable, str(SCRIPTS / "protections_agree.py"), str(sweep)]
    found = cells(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)
    assert [row[0] for row in found] == ["`plain`", "`masked`", "`ckks`"]
    assert all(float(difference) < 1e-6 for row in found[1:] for difference in row[1:3])
    assert len({row[3] for row in found}) == 1
    assert 0 < float(found[0][4]) < float(found[1][4]) < float(found[2][4])  # MB
