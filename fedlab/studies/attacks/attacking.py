"""Attacks a run from its folder, with any attack, and updates its summary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fedlab.archive import RunFolder
from fedlab.errors import FedlabError
from fedlab.fingerprint import parsed_json
from fedlab.models.saved import agree
from fedlab.run.experiment import Experiment, of_study
from fedlab.studies.attacks.options import Attack, Attacked, NoAttack
from fedlab.types import Dataset, Partition

Inputs = tuple[Dataset, Partition]


def attack_run(
    experiment: Experiment,
    own: Inputs,
    arms: Mapping[str, Inputs],
    folder: RunFolder,
    spec: Attack | None = None,
    arm: str | None = None,
    just_trained: bool = False,
) -> dict[str, float]:
    """Attacks a finished run, or each of its arms, and adds the metrics to its summary.json; returns them.

    `own`, `arms`: the data of the run and of each arm. `spec`: replaces the experiment's attack. `arm`: attack only this arm.
    `just_trained`: whether this process wrote the models, which then need no further trust.
    """
    for path in [one.model for one in (folder, *map(folder.arm, experiment.arms))] if just_trained else ():
        if path.is_file():
            agree(path)
    if not experiment.arms:
        figures = _attack(spec or of_study(experiment, "attack"), experiment, own, folder)
    else:
        figures = {}
        for name in [arm] if arm else experiment.arms:
            one = experiment.arms[name]
            found = _attack(spec or of_study(one, "attack"), one, arms[name], folder.arm(name))
            figures.update({f"{name}/{metric}": value for metric, value in found.items()})
    if figures:
        parts = {name.rpartition("/")[0] for name in figures}
        kept = {n: v for n, v in parsed_json(folder.summary.read_text()).items() if not _is_of_attack(n, parts)}
        folder.write_summary({**kept, **figures})
    return figures


def _is_of_attack(name: str, parts: set[str]) -> bool:
    """Returns whether this is a metric of an attack on the run itself (part "") or on one of these arms."""
    part, _, metric = name.rpartition("/")
    return metric.startswith("attack_") and part in parts


def _attack(spec: Attack, experiment: Experiment, inputs: Inputs, folder: RunFolder) -> dict[str, float]:
    """Returns the metrics of one attack on a run or an arm, for summary.json. Raises `FedlabError` for invalid metrics."""
    if isinstance(spec, NoAttack):
        return {}
    attacked = Attacked(folder.path, *inputs, experiment.seed, experiment.secure)
    defines_run = type(spec).run is not Attack.run  # also in a subclass of an attack that defines `on`
    metrics: Any = Attack.on(spec, attacked) if defines_run else spec.on(attacked)
    name = type(spec).__name__
    if not isinstance(metrics, Mapping) or not metrics:
        raise FedlabError(f"attack: {name}.run returned {metrics!r}: return a dict of metrics, such as {{'score': 0.5}}.")
    for key, value in metrics.items():
        if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not np.isfinite(value):
            raise FedlabError(f"attack: {name}.run returned {value!r} as {key}: metrics must be finite numbers.")
    return {f"attack_{key}".replace("attack_attack_", "attack_"): float(value) for key, value in metrics.items()}
