"""The functions that a run calls for its attack."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from fedlab.archive import RunFolder
from fedlab.errors import ConfigError
from fedlab.run.experiment import Experiment, of_study
from fedlab.run.progress import OnLine
from fedlab.studies.attacks.options import Attack, NoAttack
from fedlab.tasks import Prediction
from fedlab.types import Dataset

if TYPE_CHECKING:
    from fedlab.run.job import Inputs


def check_training(experiment: Experiment) -> None:
    """Raises `ConfigError` if the attack lacks a single classifier or the record that it needs."""
    attack: Attack = of_study(experiment, "attack")
    attack.check(experiment.secure.observe)
    own = experiment.process.task
    one_model = (own is None or isinstance(own, Prediction)) and not experiment.process.personal
    if not one_model and not isinstance(attack, NoAttack):
        raise ConfigError("an attack needs the one classifier that a run trains, and this process trains none: use attack=none.")


def check_examples(experiment: Experiment, dataset: Dataset) -> None:
    """Raises `ConfigError` if the attack cannot use these examples."""
    attack: Attack = of_study(experiment, "attack")
    attack.check_examples(dataset.train.x.shape[1:])
    if dataset.train.task.num_classes is not None:
        attack.check_classes(np.intersect1d(dataset.train.y, dataset.test.y).tolist())


def after_training(
    experiment: Experiment, inputs: Inputs, folder: RunFolder, on_line: OnLine, seconds: dict[str, float]
) -> dict[str, Any]:
    """Runs the attacks that the run requires; returns their metrics."""
    if all(isinstance(of_study(one, "attack"), NoAttack) for one in (experiment, *experiment.arms.values())):
        return {}
    from fedlab.studies.attacks.attacking import attack_run

    on_line("Training finished. Running the attack …")
    began = time.perf_counter()
    figures = attack_run(experiment, (inputs.dataset, inputs.partition), inputs.arms, folder, just_trained=True)
    seconds["attack"] = time.perf_counter() - began
    return figures
