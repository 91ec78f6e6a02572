"""Names of components that configuration files and runs of earlier versions hold, and options that those lack."""

from __future__ import annotations

import importlib

import pytest
import yaml

from fedlab.archive import Run, RunFolder
from fedlab.archive.arms import arm_configs
from fedlab.archive.differences import compared
from fedlab.archive.manifest import config_sha256, deciding
from fedlab.config.choice_help import asked
from fedlab.config.choices import config_dir
from fedlab.config.composing import build, build_experiment, compose, locate
from fedlab.errors import ConfigError
from fedlab.moved import COMPONENTS, LATER, LATER_STAGES, MODULES, present, with_present_names
from fedlab.run import locations
from fedlab.run.experiment import of_study

OLD = {  # a component of each module that has moved
    "fedlab.process.FedAvg": "fedlab.algorithms.FedAvg",
    "fedlab.process.optimizers.Sgd": "fedlab.algorithms.optimizers.Sgd",
    "fedlab.split.Split": "fedlab.algorithms.Split",
    "fedlab.run.objective.Objective": "fedlab.studies.sweep.objective.Objective",
    "fedlab.run.investigation.Investigation": "fedlab.studies.investigate.options.Investigation",
    "fedlab.difftest.Difftest": "fedlab.studies.difftest.options.Difftest",
    "fedlab.attacks.NoAttack": "fedlab.studies.attacks.options.NoAttack",
    "fedlab.attacks.ModelInversion": "fedlab.studies.attacks.model_inversion.ModelInversion",
    "fedlab.difftest.defects.SoftmaxTwice": "fedlab.experiments.defects.SoftmaxTwice",
}


def test_a_location_of_an_old_component_is_known(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recorded_now = locations.absolute({"attack": {"_target_": "fedlab.attacks.ModelInversion", "file": "model.keras"}})
    assert recorded_now["attack"]["file"] == str(tmp_path / "model.keras")


def test_each_module_that_has_moved_is_tried():
    assert {old.rpartition(".")[0] for old in OLD} == set(MODULES) and set(COMPONENTS) <= set(OLD)


@pytest.mark.parametrize(("old", "new"), OLD.items())
def test_an_old_name_means_the_present_component(old, new):
    module, _, name = new.rpartition(".")
    assert locate(old, "stage") is getattr(importlib.import_module(module), name)
    assert locations.component(old) is locations.component(new) is locate(new, "stage")


def test_a_name_that_nobody_knows_stays_as_it_is():
    assert present("fedlab.nowhere.Thing") == "fedlab.nowhere.Thing" and present("mine") == "mine"
    with pytest.raises(ConfigError, match="cannot be imported"):
        locate("fedlab.nowhere.Thing", "stage")


def test_a_run_of_an_earlier_version_differs_in_no_option(tmp_path):
    now = {"difftest": {"_target_": "fedlab.studies.difftest.options.NoDifftest"}, "seed": 0, "list": [1]}
    then = {**now, "difftest": {"_target_": "fedlab.difftest.NoDifftest"}}
    assert Run(RunFolder(tmp_path), {"config": then}, {}).config == now == with_present_names(now)
    assert compared(then, now) == []
    assert build(then, "difftest") == build(now, "difftest")


def test_an_arm_with_an_old_name_overrides_the_options_of_the_same_component():
    base = {"process": {"_target_": "fedlab.algorithms.FedAvg", "weighted": True}}
    arms = {"a": {"process": {"_target_": "fedlab.process.FedAvg", "also": 1}}}
    whole = {"_target_": "fedlab.algorithms.FedAvg", "weighted": True, "also": 1}
    assert arm_configs({**base, "arms": arms}) == {"a": {"process": whole}}


def test_a_users_own_file_may_hold_an_old_name(tmp_path):
    (tmp_path / "difftest").mkdir()
    (tmp_path / "difftest" / "mine.yaml").write_text("_target_: fedlab.difftest.Difftest\ntolerance: 0.1\n")
    config = compose(["difftest=mine", "+arms={a: {seed: 0}, b: {seed: 0}}"], str(tmp_path))
    assert of_study(build_experiment(config), "difftest").tolerance == 0.1
    assert "score_tolerance" in asked(["-cd", str(tmp_path), "difftest=mine", "--help"])


@pytest.mark.parametrize("target", LATER)
def test_an_option_that_came_later_is_no_difference_to_an_earlier_run(target):
    """Such a run can be resumed with its whole command, its sweep finds its jobs, and it is compared as before."""
    later, component = LATER[target], locate(target, "stage")
    values = {"function": "math.sqrt"}  # of an option that is an import path
    required = {name: values.get(name, "1") for name, field in component.model_fields.items() if field.is_required()}
    assert component(**required, **later) == component(**required)

    def config(**options):
        stage = {"_target_": target, "kept": 1, **options}
        return {"model": stage, "arms": {"a": {"model": stage}, "b": {"model": {"kept": 2}}}}

    then, now = config(), config(**later)
    assert compared(then, now) == compared(now, then) == locations.differences(then, now) == []
    assert deciding(then, ()) == deciding(now, ()) == then
    for name, value in later.items():
        other = config(**{**later, name: "another"})
        assert ("model." + name, value, "another") in compared(then, other)
        assert len(compared(then, other)) == 2 and deciding(other, ()) != then


def test_an_arms_own_value_is_never_taken_for_the_runs():
    """Without a class of its own, an arm's model.mean=0 replaces the run's."""
    run = {"_target_": "fedlab.models.Mlp", "mean": 0.5}
    own, none = ({"model": run, "arms": {"a": {"model": options}}} for options in ({"mean": 0.0}, {}))
    assert compared(own, none) and deciding(own, ()) != deciding(none, ())


def test_stages_that_came_later_are_no_difference_where_they_change_nothing():
    """Runs of an earlier version have no such stage; those of this one record its defaults."""
    defaults = [group for group in yaml.safe_load((config_dir() / "train.yaml").read_text())["defaults"] if group != "_self_"]
    for stage, options in LATER_STAGES.items():
        default = next(group[stage] for group in defaults if stage in group)
        assert options == yaml.safe_load((config_dir() / stage / f"{default}.yaml").read_text())
        before, now = {"num_rounds": 2, "seed": 0}, {"num_rounds": 2, "seed": 0, stage: dict(options)}
        option = next((name for name in options if name != "_target_"), "option")
        changed = {**now, stage: {**options, option: "something"}}
        assert compared(before, now) == [] and deciding(before, ()) == deciding(now, ())
        assert config_sha256(before) == config_sha256(now) != config_sha256(changed)
        assert compared(before, changed) == [(f"{stage}.{option}", options.get(option), "something")]
        assert deciding(changed, ()) != deciding(now, ())
