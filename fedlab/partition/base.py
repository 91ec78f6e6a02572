"""`Partitioner`: what all ways of dividing examples have in common."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from pydantic import Field

from fedlab.errors import DataError
from fedlab.randomness import generator
from fedlab.spec import Spec
from fedlab.types import ExampleSet, Partition


class Partitioner(Spec):
    """Divides examples among clients. Every client gets at least one, no example goes to two, and all are given out unless
    a partitioner says otherwise.
    """

    needs_user_ids: ClassVar[bool] = False
    needs_labels: ClassVar[bool] = False

    @property
    @abc.abstractmethod
    def known_num_clients(self) -> int | None:
        """How many clients there will be; None where only the data can tell."""

    def __call__(self, examples: ExampleSet, seed: int) -> Partition:
        """The division of `examples`, a function of them and `seed` alone. Raises `DataError` when it cannot be made."""
        if self.known_num_clients is not None and self.known_num_clients > len(examples):
            raise DataError(
                f"{len(examples)} examples cannot be divided among {self.known_num_clients} clients."
                " Lower partition.num_clients, or take more examples."
            )
        return self._divide(examples, generator(seed, "partition"))

    @abc.abstractmethod
    def _divide(self, examples: ExampleSet, rng: np.random.Generator) -> Partition: ...


class FixedNumber(Partitioner):
    """Partitioners that are told how many clients there are. `num_clients`: positive."""

    num_clients: int = Field(gt=0)

    @property
    def known_num_clients(self) -> int:
        return self.num_clients


def numbered(indices: Sequence[np.ndarray]) -> Partition:
    """A partition whose clients are called "0", "1", …; each client's examples in the order of the training set."""
    return Partition(tuple(map(str, range(len(indices)))), tuple(np.sort(i).astype(np.int64) for i in indices))
