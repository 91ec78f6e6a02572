"""`Corruption`: what all bugs have in common: whom they befall."""

from __future__ import annotations

import abc
import dataclasses
import hashlib
from typing import Annotated

import numpy as np
from pydantic import BeforeValidator, Field

from fedlab.errors import DataError, did_you_mean
from fedlab.randomness import generator
from fedlab.spec import Spec
from fedlab.types import Dataset, ExampleSet, Partition

UserId = Annotated[str, BeforeValidator(str)]  # a configuration's 12 is the user "12"


class Corruption(Spec):
    """A bug in every example of some users, in the training set and in the test set alike.

    `fraction`: in [0, 1], the chance of each user to have it, drawn user by user: whether one has it is a function of the run's
    seed and that user's id, whoever else there is, and those who have it at 0.2 are among those at 0.5. `users`: these and
    nobody else, in place of a fraction.

    A user is who produced an example, where the data tells; else a client of the partition, and then the test set, which
    belongs to nobody, stays as it is.
    """

    fraction: float = Field(0.5, ge=0, le=1)
    users: tuple[UserId, ...] | None = None

    def affected(self, dataset: Dataset, partition: Partition, seed: int) -> dict[str, bool]:
        """Who has the bug: the truth, for scoring what was found, and for nothing else. In ascending order of the users' ids.

        Raises `DataError` where `users` names somebody there is not.
        """
        names = {**_examples_of(dataset.train, partition), **_examples_of(dataset.test, None)}
        if self.users is None:
            return {name: self._falls_on(name, seed) for name in names}
        for user in self.users:
            if user not in names:
                raise DataError(f"corruption.users: there is no user '{user}'.{did_you_mean(user, names)}")
        return {name: name in self.users for name in names}

    def _falls_on(self, user: str, seed: int) -> bool:
        return bool(generator(seed, "corruption", _number(user)).random() < self.fraction)

    def __call__(self, dataset: Dataset, partition: Partition, seed: int) -> Dataset:
        """The same data with the bug in it, in arrays of its own; `dataset` itself where nobody has it."""
        affected = self.affected(dataset, partition, seed)
        if not any(affected.values()):
            return dataset
        train = self._with_bug(dataset.train, _examples_of(dataset.train, partition), affected, seed, "train")
        test = self._with_bug(dataset.test, _examples_of(dataset.test, None), affected, seed, "test")
        return dataclasses.replace(dataset, train=train, test=test)

    def _with_bug(
        self, examples: ExampleSet, examples_of: dict[str, np.ndarray], affected: dict[str, bool], seed: int, part: str
    ) -> ExampleSet:
        x, y = examples.x.copy(), examples.y.copy()
        for user, indices in examples_of.items():
            if affected[user]:
                rng = generator(seed, f"corruption of {part}", _number(user))
                x[indices], y[indices] = self._corrupt(x[indices], y[indices], examples.num_classes, rng)
        return dataclasses.replace(examples, x=x, y=y)

    @abc.abstractmethod
    def _corrupt(self, x: np.ndarray, y: np.ndarray, num_classes: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """One user's examples with the bug: x [n, …] of the same shape and type, y [n] in [0, num_classes)."""


def _number(user: str) -> int:
    """In [0, 2^64), of the id alone; a user's position would depend on who else there is."""
    return int.from_bytes(hashlib.sha256(user.encode()).digest()[:8], "big")


def _examples_of(examples: ExampleSet, partition: Partition | None) -> dict[str, np.ndarray]:
    """Where each user's examples are, in ascending order of their ids; nowhere, where nobody knows whose they are."""
    if examples.user_ids is None:
        return dict(zip(partition.client_ids, partition.indices)) if partition else {}
    users, user_of_example, sizes = np.unique(examples.user_ids, return_inverse=True, return_counts=True)
    by_user = np.split(np.argsort(user_of_example, kind="stable"), np.cumsum(sizes)[:-1])
    return {str(user): indices for user, indices in zip(users, by_user)}
