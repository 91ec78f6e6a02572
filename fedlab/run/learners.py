"""Which learner runs which process. A further kind of process is a row in `LEARNERS`; all others train a classifier."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping

from fedlab.process import Gan, LocalOnly, Process
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


def build_learner(experiment: Experiment, dataset: Dataset, partition: Partition, arms: Mapping[str, Inputs]) -> Learner:
    """The learner of `experiment`, or that of all its arms. `arms`: the data of each. Raises `FedlabError`."""
    if not experiment.arms:
        return _one(experiment, dataset, partition)
    from fedlab.run.arms import Arms

    return Arms(experiment, dataset, partition, {n: functools.partial(_one, experiment.arms[n], *arms[n]) for n in arms})


def _one(experiment: Experiment, dataset: Dataset, partition: Partition) -> Learner:
    kinds = (found for kind, found in LEARNERS.items() if isinstance(experiment.process, kind))
    module, name = next(kinds, _ORDINARY)
    return getattr(importlib.import_module(module), name)(experiment, dataset, partition)
