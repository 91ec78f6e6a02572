"""Reads the data of an experiment: its clients' examples, after corruption and filter."""

from __future__ import annotations

import dataclasses

import numpy as np

from fedlab import registry
from fedlab.corruption import Corruption, NoCorruption, without_held_out
from fedlab.data import Source
from fedlab.errors import printable
from fedlab.filter import Filter
from fedlab.fingerprint import fingerprints
from fedlab.partition import Partitioner, checked, everybody, hold_out
from fedlab.run.experiment import Experiment, of_arm
from fedlab.run.rules import check_clients, check_task
from fedlab.types import Dataset, Partition

_MOST_NAMED = 5  # classes that a remark names
_DATA_STAGES = ("data", "partition", "corruption", "filter")  # the stages that determine the examples of an arm's clients


def load(experiment: Experiment) -> tuple[Dataset, Partition]:
    """Reads, partitions, corrupts and filters the data. Raises `FedlabError`.

    Needs TensorFlow for data=emnist without data.path only.
    """
    seed = experiment.partition.data_seed(experiment.seed)
    dataset = experiment.data.load(seed)
    check_task(experiment, dataset)
    if not experiment.arms:
        _check_examples(experiment, dataset)
    stages = experiment.partition, experiment.corruption, experiment.filter
    dataset, kept = divided(dataset, *stages, experiment.evaluation.holdout, experiment.seed)
    if not experiment.arms:
        _check_clients(experiment, kept)
    return dataset, kept


def divided(
    dataset: Dataset, partitioner: Partitioner, corruption: Corruption, chosen: Filter, holdout: float, seed: int
) -> tuple[Dataset, Partition]:
    """Returns `dataset` after the corruption, and its division among clients. Raises `FedlabError`.

    `chosen`: the filter, which concerns the clients that take part in training, and not the unseen ones. `holdout`: the share of
    each client's examples that it holds out. `seed`: the run's.
    """
    own = partitioner.data_seed(seed)
    clients, clean = partitioner(dataset.train, own), dataset
    dataset = corruption(clean, clients, own)
    partition = partitioner.set_aside(clients, own)
    name = f"filter: {type(chosen).__name__}"
    kept = checked(chosen(dataset, partition, fingerprints), len(dataset.train), name)
    if partition.unseen is not None:  # a filter that builds its own result need not know of unseen clients
        kept = dataclasses.replace(kept, unseen=partition.unseen)
        checked(everybody(kept), len(dataset.train), name)
    kept = hold_out(kept, holdout, own)
    if not corruption.held_out and dataset.train is not clean.train:
        dataset = without_held_out(dataset, clean, kept)
    return dataset, kept


def remarks(source: Source, dataset: Dataset) -> list[str]:
    """Returns lines for the user about data that nobody trains on: parts that are not read, and classes of the test set only."""
    task = dataset.train.task
    if task.num_classes is None:
        return list(source.remarks)
    labels = getattr(task, "labels", None) or tuple(map(str, range(task.num_classes)))
    missing = [labels[c] for c in np.setdiff1d(dataset.test.y, dataset.train.y).tolist()]
    if not missing:
        return list(source.remarks)
    listed = ", ".join(missing[:_MOST_NAMED]) + (", …" if len(missing) > _MOST_NAMED else "")
    count = "1 class is" if len(missing) == 1 else f"{len(missing):,} classes are"
    return [*source.remarks, f"{count} in the test set and in no training example, so no model learns it: {printable(listed)}"]


def _check_clients(experiment: Experiment, partition: Partition) -> None:
    """Raises `ConfigError` if the stages do not suit the number of clients, or if the clock lacks one of them."""
    check_clients(experiment, len(partition))
    experiment.clock.seconds(partition.client_ids, experiment.seed)


def _check_examples(experiment: Experiment, dataset: Dataset) -> None:
    """Raises `ConfigError` if a study cannot use these examples."""
    for check in registry.hooks("check_examples"):
        check(experiment, dataset)


def load_arms(experiment: Experiment, dataset: Dataset, partition: Partition) -> dict[str, tuple[Dataset, Partition]]:
    """Reads the data of each arm; returns `dataset` and `partition`, the experiment's, if the arm has the same."""
    found = {}
    for name, arm in experiment.arms.items():
        with of_arm(name):
            found[name] = (dataset, partition) if _same(experiment, arm, *_DATA_STAGES) else load(arm)
            # The same arrays, stored once; the corrupted clients may depend on the partition
            unit = (
                () if type(arm.corruption) is NoCorruption else ("partition", *(() if arm.corruption.held_out else ("filter",)))
            )
            if _same(experiment, arm, "data", "corruption", *unit):
                found[name] = (dataset, found[name][1])
            check_task(arm, found[name][0], name)
            _check_clients(arm, found[name][1])
            _check_examples(arm, found[name][0])
    return found


def _same(one: Experiment, other: Experiment, *stages: str) -> bool:
    return all(getattr(one, stage) == getattr(other, stage) for stage in stages)
