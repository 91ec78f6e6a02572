"""The users on whose data a finished classifier is tested, without the bug and with it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from fedlab.corruption import Corruption
from fedlab.data import Source
from fedlab.errors import DataError
from fedlab.partition import ByUser, Partitioner
from fedlab.types import Dataset, Partition

if TYPE_CHECKING:
    from fedlab.evaluation.saved import SavedClassifier


@dataclasses.dataclass(frozen=True)
class Population:
    """The data of users: `clean` and, with the bug, `dataset`. `affected`: user → has the bug; {} without a bug."""

    clean: Dataset
    dataset: Dataset
    partition: Partition
    affected: dict[str, bool]


def load_population(source: Source, partitioner: Partitioner, corruption: Corruption, seed: int) -> Population:
    """Loads all users with training examples. Data without user ids is split by `partitioner`, and each client is a user.

    Clients that are never trained (`partition.unseen_clients`) are left out: a filter chooses among the others. Raises
    `DataError`, also for a single client, because there is nobody to compare it with.
    """
    seed = partitioner.data_seed(seed)
    clean = source.load(seed)
    clients = (ByUser() if clean.train.user_ids is not None else partitioner)(clean.train, seed)
    partition = _trained(clients, clean, partitioner, seed)
    if len(partition) < 2:
        raise DataError(
            f"data {clean.name} does not say who produced an example, and the partition has one client: divide it among users, "
            "such as partition=iid partition.num_clients=20."
        )
    dataset = corruption(clean, clients, seed)
    return Population(clean, dataset, partition, dict(dataset.affected))


def _trained(clients: Partition, clean: Dataset, partitioner: Partitioner, seed: int) -> Partition:
    """Returns the clients that take part in training. The users of data with user ids are clients of partition=by_user only."""
    if clean.train.user_ids is None:
        return partitioner.set_aside(clients, seed)
    if not (isinstance(partitioner, ByUser) and partitioner.unseen_clients):
        return clients
    unseen = partitioner.set_aside(partitioner(clean.train, seed), seed).unseen
    left_out = set(unseen.client_ids) if unseen else set()
    return clients.select(np.array([place for place, user in enumerate(clients.client_ids) if user not in left_out], np.int64))


@dataclasses.dataclass(frozen=True)
class Measured:
    """The accuracy of a classifier on the training examples of a population, from which a filter chooses."""

    correct_clean: np.ndarray  # bool [N]
    correct: np.ndarray  # bool [N], with the bug
    accuracies_clean: np.ndarray  # float64 [users]
    accuracies: np.ndarray  # float64 [users], with the bug


def measure(classifier: SavedClassifier, population: Population) -> Measured:
    """Tests a classifier, in one pass over the training examples and one over the examples with the bug."""
    train, bugged = population.clean.train, population.dataset.train
    correct_clean = classifier.correct(train)
    correct = correct_clean
    if bugged is not train:
        users = zip(population.partition.client_ids, population.partition.indices)
        changed = np.concatenate([indices for user, indices in users if population.affected[user]] or [np.zeros(0, np.int64)])
        correct = correct_clean.copy()
        correct[changed] = classifier.correct(bugged.select(changed))
    per_user = [
        np.array([scores[indices].mean() for indices in population.partition.indices]) for scores in (correct_clean, correct)
    ]
    return Measured(correct_clean, correct, *per_user)
