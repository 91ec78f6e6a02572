"""How an arm's configuration comes from the run's."""

from fedlab.archive.arms import arm_configs

BASE = {"model": {"_target_": "m.Mlp", "hidden": [8], "dropout": 0.0}, "client": {"_target_": "c.C", "batch_size": 5}, "seed": 1}


def test_options_are_merged_key_by_key():
    arms = arm_configs({**BASE, "arms": {"a": {"model": {"hidden": [3]}, "seed": 2}, "b": {}}})
    assert arms["a"] == {**BASE, "model": {"_target_": "m.Mlp", "hidden": [3], "dropout": 0.0}, "seed": 2}
    assert arms["b"] == BASE


def test_another_choice_takes_the_place_of_the_base_s():
    cnn = {"_target_": "m.Cnn", "filters": [2]}
    assert arm_configs({**BASE, "arms": {"a": {"model": cnn}}})["a"]["model"] == cnn


def test_the_same_choice_is_merged():
    arms = arm_configs({**BASE, "arms": {"a": {"model": {"_target_": "m.Mlp", "dropout": 0.5}}}})
    assert arms["a"]["model"] == {"_target_": "m.Mlp", "hidden": [8], "dropout": 0.5}


def test_a_run_without_arms_has_none():
    assert arm_configs(BASE) == {} == arm_configs({**BASE, "arms": {}})
