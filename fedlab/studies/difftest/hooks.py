"""The functions that a run calls for its differential test."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from fedlab.errors import ConfigError, did_you_mean
from fedlab.run.experiment import Experiment, of_study
from fedlab.studies.difftest.options import Difftest

if TYPE_CHECKING:
    from fedlab.run.learner import Learner
    from fedlab.studies.difftest.observing import ArmComparer


def check(experiment: Experiment) -> None:
    """Raises `ConfigError` if the run lacks the arms that its differential test compares."""
    spec = of_study(experiment, "difftest")
    if not isinstance(spec, Difftest):
        return
    if not experiment.arms:
        raise ConfigError("difftest compares two arms, and this run has none: give arms, or choose difftest=none.")
    for name in spec.arms or ():
        if name not in experiment.arms:
            hint = did_you_mean(name, experiment.arms)
            raise ConfigError(f"difftest.arms names '{name}', which is no arm of this run: {', '.join(experiment.arms)}.{hint}")
    personal = [name for name in spec.arms or tuple(experiment.arms)[:2] if experiment.arms[name].process.personal]
    if spec.data == "test" and personal:
        raise ConfigError(
            f"difftest.data=test needs arms with one model each, and arm {personal[0]} trains a model per client: use "
            "difftest.data=clients."
        )
    if experiment.stop.is_on and experiment.eval_every % spec.every:
        raise ConfigError(
            f"stop: the run may end after any evaluated round (eval_every={experiment.eval_every}), and with "
            f"difftest.every={spec.every} the arms are not compared after each of them: set difftest.every=1."
        )


def observe_arms(
    experiment: Experiment, arms: Mapping[str, Learner], num_rounds: int, seconds: dict[str, float]
) -> ArmComparer | None:
    """Returns the observer that compares two arms; None without a differential test."""
    spec = of_study(experiment, "difftest")
    if not isinstance(spec, Difftest):
        return None
    from fedlab.studies.difftest.observing import ArmComparer  # imports SciPy

    return ArmComparer(spec, arms, experiment.seed, num_rounds, seconds)
