"""The contract of every shipped attack. A new one is a row here."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fedlab.archive import RunFolder, read_run
from fedlab.cli.main import main
from fedlab.config.choices import config_dir
from fedlab.config.composing import build, compose
from fedlab.errors import ConfigError
from fedlab.studies.attacks.options import Attack, NoAttack

# Choice of conf/attack → options that make it quick
ATTACKS = {"model_inversion": ["attack.iterations=3", "attack.num_starts=1"]}
NEEDS_IMAGES = {"model_inversion"}


def test_each_attack_that_is_shipped_has_a_row():
    assert {path.stem for path in (config_dir() / "attack").glob("*.yaml")} == {*ATTACKS, "none"}


@pytest.mark.parametrize("name", ATTACKS)
def test_its_options_are_those_of_its_file(name):
    spec = build(compose([f"attack={name}", *ATTACKS[name]]), "attack")
    assert isinstance(spec, Attack) and not isinstance(spec, NoAttack)
    assert type(spec).__module__ == f"fedlab.studies.attacks.{name}"
    if name in NEEDS_IMAGES:
        with pytest.raises(ConfigError):
            spec.check_examples((13,))


@pytest.mark.parametrize("name", ATTACKS)
def test_equal_attacks_give_equal_metrics_on_summary_and_page(name, copied):
    """The metrics of the attack before it are gone; the run stays whole."""
    found = []
    for _ in range(2):
        assert main(["attack", "-q", str(copied), f"attack={name}", *ATTACKS[name]]) == 0
        summary = json.loads((copied / "summary.json").read_text())
        found.append({metric: value for metric, value in summary.items() if metric.startswith("attack_")})
    assert found[0] == found[1] != {}
    assert all(isinstance(value, float) and np.isfinite(value) for value in found[0].values())
    run = read_run(copied)
    run.check()
    assert run.folder.path == RunFolder(copied).path and run.inventory is not None
    assert all(metric.replace("_", " ") in run.folder.report.read_text() for metric in found[0])
