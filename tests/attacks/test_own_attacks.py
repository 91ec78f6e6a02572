"""An attack of a user's own: one class with `run`, or a refusal."""

from __future__ import annotations

import types

import pytest

from fedlab.archive import RunFolder
from fedlab.attacks import Attack, NoAttack
from fedlab.errors import FedlabError
from fedlab.run.attack import _attack


def attacked(returned, tmp_path):
    class Own(Attack):
        def run(self, folder, dataset, partition, seed):
            assert (folder, dataset, partition, seed) == (tmp_path, "data", "division", 7)
            return returned

    return _attack(Own(), types.SimpleNamespace(seed=7), ("data", "division"), RunFolder(tmp_path))


def test_its_figures_are_those_of_an_attack(tmp_path):
    assert attacked({"score": 1, "attack_rate": 0.5}, tmp_path) == {"attack_score": 1.0, "attack_rate": 0.5}


@pytest.mark.parametrize("returned", [None, {}, [1.0], {"score": "high"}, {"score": float("nan")}, {"score": True}])
def test_what_is_no_figure_is_named(returned, tmp_path):
    with pytest.raises(FedlabError, match=r"attack: Own\.run returned"):
        attacked(returned, tmp_path)


def test_one_that_does_nothing_is_refused():
    class Own(Attack):
        target: str = "x"

    with pytest.raises(ValueError, match=r"Own defines no run\(folder, dataset, partition, seed\)"):
        Own()
    NoAttack()
