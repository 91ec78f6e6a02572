"""An attack of a user's own: one class with `run`, or a refusal."""

from __future__ import annotations

import json
import types

import pytest

from fedlab.archive import RunFolder
from fedlab.cli.main import main
from fedlab.errors import FedlabError
from fedlab.studies.attacks.attacking import _attack
from fedlab.studies.attacks.options import Attack, NoAttack
from tests.report.conftest import read_page


def attacked(returned, tmp_path):
    class Own(Attack):
        def run(self, folder, dataset, partition, seed):
            assert (folder, dataset, partition, seed) == (tmp_path, "data", "division", 7)
            return returned

    return _attack(Own(), types.SimpleNamespace(seed=7, secure=None), ("data", "division"), RunFolder(tmp_path))


def test_its_figures_are_those_of_an_attack(tmp_path):
    assert attacked({"score": 1, "attack_rate": 0.5}, tmp_path) == {"attack_score": 1.0, "attack_rate": 0.5}


@pytest.mark.parametrize("returned", [None, {}, [1.0], {"score": "high"}, {"score": float("nan")}, {"score": True}])
def test_what_is_no_figure_is_named(returned, tmp_path):
    with pytest.raises(FedlabError, match=r"attack: Own\.run returned"):
        attacked(returned, tmp_path)


def test_one_from_outside_is_seen_on_the_page(copied, tmp_path, monkeypatch):
    """Named by `_target_` alone: neither the report nor the verb knows it."""
    (tmp_path / "my_attack.py").write_text(
        "from fedlab.studies.attacks.options import Attack\n\n\n"
        "class Counting(Attack):\n"
        "    factor: float = 1.0\n\n"
        "    def run(self, folder, dataset, partition, seed):\n"
        "        assert (folder / 'model.keras').is_file()\n"
        "        return {'examples_per_client': self.factor * len(dataset.train) / len(partition)}\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    chosen = ["attack=none", "attack._target_=my_attack.Counting", "+attack.factor=0.25"]
    assert main(["attack", "-q", str(copied), *chosen]) == 0
    summary = json.loads((copied / "summary.json").read_text())
    assert summary["attack_examples_per_client"] == 75  # a quarter of 1,200 / 4
    assert "attack_score_clients" not in summary  # of the attack before it
    figures = read_page(copied / "report.html").text
    assert "attack examples per client" in figures and "75" in figures.partition("attack examples per client")[2][:40]


def test_one_that_does_nothing_is_refused():
    class Own(Attack):
        target: str = "x"

    with pytest.raises(ValueError, match=r"Own defines no run\(folder, dataset, partition, seed\)"):
        Own()
    NoAttack()
