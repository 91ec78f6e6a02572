"""Which learner runs which process. A further kind of process is a row in `LEARNERS`; all others train a classifier."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping

from fedlab.process import Gan, LocalOnly, Process
from fedlab.randomness import Secret
from fedlab.run.experiment import Experiment
from fedlab.run.learner import Learner
from fedlab.split import Split
from fedlab.types import Dataset, Partition

Inputs = tuple[Dataset, Partition]
# (module, class), imported when it is needed
LEARNERS: dict[type[Process], tuple[str, str]] = {
    Gan: ("fedlab.run.gan", "GanLearner"),
    LocalOnly: ("fedlab.run.local_only", "LocalOnlyLearner"),
    Split: ("fedlab.run.split", "SplitLearner"),
}
_ORDINARY = ("fedlab.run.classifier", "Classifier")


def build_learner(
    experiment: Experiment,
    dataset: Dataset,
    partition: Partition,
    arms: Mapping[str, Inputs],
    secrets: Mapping[str, Secret] | Secret | None = None,
) -> Learner:
    """The learner of `experiment`, or that of all its arms. Raises `FedlabError`.

    `arms`: the data of each. `secrets`: of the run, or of each arm, from which the draws follow that ε rests on; None: fresh
    ones, which are kept nowhere.
    """
    if not experiment.arms:
        assert secrets is None or isinstance(secrets, Secret)
        return _one(experiment, dataset, partition, secrets)
    from fedlab.run.arms import Arms

    assert not isinstance(secrets, Secret)
    given = secrets or {}
    builders = {n: functools.partial(_one, experiment.arms[n], *arms[n], given.get(n)) for n in arms}
    return Arms(experiment, dataset, partition, builders)


def _one(experiment: Experiment, dataset: Dataset, partition: Partition, secret: Secret | None) -> Learner:
    kinds = (found for kind, found in LEARNERS.items() if isinstance(experiment.process, kind))
    module, name = next(kinds, _ORDINARY)
    return getattr(importlib.import_module(module), name)(experiment, dataset, partition, secret)
