"""`scripts/inversion_tradeoff.py`: a row per run and kind of model, and whom it refuses."""

from __future__ import annotations

import importlib
import pathlib

import pytest

from fedlab.archive import RunFolder
from fedlab.studies.attacks.record import write_result
from tests.report.conftest import write_run

SCRIPTS = pathlib.Path(__file__).parents[2] / "scripts"
MEASURED = {"confidence": 0.5, "ssim": 0.25, "correlation": 0.125}


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("inversion_tradeoff")


def attacked(path, target, victims, config=None, **summary):
    write_run(path, config, summary=summary, name=f"inversion/{path.name}")
    rows = [{"name": n, "noise": noise, "test_accuracy": a, "score": s, **MEASURED} for n, noise, a, s in victims]
    rest = {"options": {}, "evaluation": {}, "baselines": {}}
    write_result(RunFolder(path), {"name": f"model_inversion_{target}", "target": target, "victims": rows, **rest})
    return path


def test_a_row_for_each_kind_of_model(script, tmp_path, capsys):
    clients = [("global", 0.0, 0.9, 0.4), ("client 0", 0.0, 0.8, 0.3), ("client 1", 0.0, 0.7, 0.5), ("control", 0.0, 0.8, 0.3)]
    plain = attacked(tmp_path / "plain", "clients", clients, epsilon=3.14159)
    attacked_too = attacked(tmp_path / "noisy", "global", [("global", 0.0, 0.9, 0.4), ("global", 0.1, 0.6, 0.1)])
    png = tmp_path / "tradeoff.png"
    assert script.main([str(plain), str(attacked_too), "--png", str(png)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2:] == [
        "| `inversion/plain` | the global model | 90.0 % | 0.50 | 0.25 | 0.12 | 0.40 | 3.142 |",
        "| `inversion/plain` | clients, as the server saw them | 75.0 % | 0.50 | 0.25 | 0.12 | 0.40 | ∞ |",
        "| `inversion/plain` | a control that never saw a training example | 80.0 % | 0.50 | 0.25 | 0.12 | 0.30 | ∞ |",
        "| `inversion/noisy` | the global model | 90.0 % | 0.50 | 0.25 | 0.12 | 0.40 | ∞ |",
        "| `inversion/noisy` | the global model, noisy | 60.0 % | 0.50 | 0.25 | 0.12 | 0.10 | ∞ |",
    ]
    assert png.read_bytes().startswith(b"\x89PNG")
    run = script.read_run(plain)
    assert script.points(run, script.newest(run)) == [
        ("inversion/plain", "the global model", 0.4, 0.9),
        ("inversion/plain", "clients, as the server saw them", 0.4, 0.9),
    ]


def test_the_epsilon_of_a_federation_that_a_run_stands_for_is_told_from_its_own(script, tmp_path, capsys):
    simulated = {"privacy": {"population": 10_000, "simulated_cohort": 100}}
    script.main([str(attacked(tmp_path / "dp", "global", [("global", 0.0, 0.9, 0.4)], simulated, epsilon=0.25))])
    assert capsys.readouterr().out.rstrip().endswith("| 0.2500 (simulated) |")


def test_a_run_that_was_not_attacked_is_refused(script, tmp_path, capsys):
    assert script.main([str(write_run(tmp_path / "run"))]) == 1
    assert "has not been attacked: fedlab attack" in capsys.readouterr().err
