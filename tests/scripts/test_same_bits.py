"""`scripts/same_bits.py`: what it takes for the same, and that each of its cases is a configuration that could run."""

from __future__ import annotations

import importlib
import pathlib

import pytest

from fedlab.config.composing import build_experiment, compose
from fedlab.run import rules

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    return importlib.import_module("same_bits")


def outcome(script, loss=0.5, digest="ab", reproducible=True):
    record = {"round": 1, "seconds": 1.0, "train_loss": loss, "weights_hash": digest}
    return script.Outcome([record], {"test_accuracy": loss, "seconds_total": 3.0, "weights_hash": digest}, reproducible)


def test_times_may_differ_and_nothing_else(script):
    later = outcome(script)
    later.records[0]["seconds"] = 9.0
    assert script.differences(outcome(script), later) == []
    assert script.differences(outcome(script), outcome(script, loss=0.5000001))
    assert script.differences(outcome(script), outcome(script, digest="cd"))
    longer = script.Outcome(outcome(script).records * 2, outcome(script).summary, True)
    assert script.differences(outcome(script), longer) == ["1 rounds, 2 rounds"]
    more = outcome(script)
    more.records[0]["added"] = 1
    assert script.differences(more, outcome(script)) == ["round 1, added: 1 | None"]  # a figure is lost


def test_a_new_figure_is_named_and_is_no_difference(script):
    more = outcome(script)
    more.records[0]["added"] = 1
    done = script.Comparison(script.Case("x", []), outcome(script), more)
    assert (done.outcome, done.verdict) == ("same", "same (new figures: added)")
    lost = script.Comparison(script.Case("x", []), more, outcome(script))
    assert (lost.outcome, lost.verdict) == ("different", "round 1, added: 1 | None")


def test_a_case_that_only_the_new_checkout_can_compose_is_new_if_it_runs(script):
    case, failed = script.Case("x", []), script.Outcome([], {}, True, "no such thing")
    assert script.Comparison(case, None, outcome(script)).outcome == "new"
    assert script.Comparison(case, None, failed).outcome == "different"


def test_what_does_not_promise_equal_bits_may_differ_a_little(script):
    free = outcome(script, digest="cd", loss=0.51, reproducible=False)
    assert script.differences(outcome(script, reproducible=False), free) == []
    assert script.differences(outcome(script, reproducible=False), outcome(script, loss=0.6, reproducible=False))
    assert script.differences(outcome(script), free)[0] == "one says that it is reproducible, the other does not"


def test_a_run_that_failed_is_never_the_same(script):
    failed = script.Outcome([], {}, True, "no such thing")
    assert script.differences(failed, failed) == ["before: no such thing", "after: no such thing"]


def test_every_experiment_has_a_case(script):
    names = {case.name for case in script.cases()}
    conf = ROOT / "conf" / "experiment"
    files = {str(path.relative_to(conf).with_suffix("")) for path in conf.rglob("*.yaml")}
    assert {name for name in files if not name.startswith("gan/debug")} < names  # those are investigations


@pytest.mark.slow
def test_every_case_fits_together(script):
    for case in script.cases():
        overrides = [override for override in case.overrides if not override.startswith("hydra.")]
        experiment = build_experiment(compose(overrides))
        if not case.name.startswith("gan/"):  # may name a classifier that is yet to be trained
            rules.check(experiment)


def test_noise_is_found_wherever_it_is_configured(script):
    config = {"privacy": {"noise_source": "key"}, "arms": {"a": {"client": {"noise_source": "key"}, "x": 1}}}
    assert [*script.paths_of("noise_source", config)] == ["privacy.noise_source", "arms.a.client.noise_source"]


def test_what_is_no_checkout_is_refused_in_a_line(script, tmp_path, capsys):
    assert script.main([str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert script.main([str(ROOT), "--only", "nothing/*"]) == 2
    assert "no case is called nothing/*" in capsys.readouterr().err
