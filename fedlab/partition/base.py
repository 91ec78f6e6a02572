"""`Partitioner`: the common base of all ways to divide examples among clients."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from pydantic import Field

from fedlab.errors import DataError
from fedlab.partition.unseen import NumberOrShare, num_unseen, set_aside
from fedlab.ragged import Names, Ragged, flat_of, sizes_of
from fedlab.randomness import generator
from fedlab.spec import Spec
from fedlab.types import ExampleSet, Partition


class Partitioner(Spec):
    """Divides examples among clients. Every client gets at least one example, and no example goes to two clients. All examples
    are assigned, unless a partitioner's description says otherwise.

    `seed`: of the test split, the partition, the corruption and the held-out examples; None is the seed of the run. With it, runs
    of different seeds train on the same clients, so that their metrics can be compared client by client. `unseen_clients`: a
    number of clients, or a share of them in [0, 1), drawn at random: they are in no cohort and train no model, and every
    evaluation measures the model on their examples.
    """

    seed: int | None = Field(None, ge=0, lt=2**63)
    unseen_clients: NumberOrShare = 0

    makes: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "known_num_clients": (
            "builtins.int",
            "types.NoneType",
        )
    }

    needs_user_ids: ClassVar[bool] = False

    @property
    @abc.abstractmethod
    def known_num_clients(self) -> int | None:
        """The number of clients, with the unseen ones; None if it depends on the data."""

    @property
    def known_num_trained(self) -> int | None:
        """Returns the number of clients that can take part in training; None if it depends on the data.

        Raises `DataError` if all would be unseen, or none although some are demanded.
        """
        known = self.known_num_clients
        return None if known is None else known - num_unseen(self.unseen_clients, known)

    def set_aside(self, partition: Partition, seed: int) -> Partition:
        """Returns the clients of `partition` that take part in training, with the unseen ones beside them. Raises `DataError`."""
        return set_aside(partition, self.unseen_clients, self.data_seed(seed))

    def largest_client(self, num_examples: int) -> int:
        """Returns the largest number of `num_examples` examples that one client may get; every other client has at least one."""
        return num_examples - (self.known_num_clients or 1) + 1

    def data_seed(self, seed: int) -> int:
        """Returns the seed of the data and its partition, in a run with `seed`."""
        return seed if self.seed is None else self.seed

    def __call__(self, examples: ExampleSet, seed: int) -> Partition:
        """Returns a division of `examples` among all clients, with the unseen ones; it depends on `examples` and `data_seed`.

        Raises `DataError` if it is impossible.
        """
        if self.known_num_clients is not None and self.known_num_clients > len(examples):
            raise DataError(
                f"{len(examples)} examples cannot be divided among {self.known_num_clients} clients."
                " Lower partition.num_clients, or take more examples."
            )
        divided = self._divide(examples, generator(self.data_seed(seed), "partition"))
        return checked(divided, len(examples), f"partition: {type(self).__name__}")

    @abc.abstractmethod
    def _divide(self, examples: ExampleSet, rng: np.random.Generator) -> Partition: ...


def checked(partition: Partition, num_examples: int, name: str) -> Partition:
    """Returns `partition`. Raises `DataError` if it does not divide `num_examples` examples. `name`: the function it is from."""
    if not isinstance(partition, Partition):
        raise DataError(f"{name} returned {type(partition).__name__}; it must return a Partition.")
    if not len(partition):
        raise DataError(f"{name} returned no client.")
    if _is_division(partition, num_examples):
        return partition
    if len(set(partition.client_ids)) < len(partition):
        seen: set[str] = set()
        twice = next(c for c in partition.client_ids if c in seen or seen.add(c))  # type: ignore[func-returns-value]
        raise DataError(f"{name} returned two clients of the name '{twice}'.")
    owner = np.full(num_examples, -1, np.int64)
    for client, (client_id, indices) in enumerate(zip(partition.client_ids, partition.indices)):
        array = np.asarray(indices)
        if array.ndim != 1 or array.dtype.kind not in "iu":
            given = f"{array.dtype} {list(array.shape)}"
            raise DataError(
                f"{name} gives client {client_id} indices of {given}; they must be a one-dimensional array of integers."
            )
        if not len(array):
            raise DataError(f"{name} gives client {client_id} no example.")
        outside = array[(array < 0) | (array >= num_examples)]
        if len(outside):
            raise DataError(
                f"{name} gives client {client_id} the index {outside[0]}; the {num_examples:,} examples have the "
                f"indices 0 to {num_examples - 1:,}."
            )
        ordered = np.sort(array)
        twice_here = ordered[1:][ordered[1:] == ordered[:-1]]
        if len(twice_here):
            raise DataError(f"{name} gives client {client_id} the index {twice_here[0]} twice.")
        taken = array[owner[array] >= 0]
        if len(taken):
            first = partition.client_ids[owner[taken[0]]]
            raise DataError(f"{name} gives the index {taken[0]} to client {first} and to client {client_id}.")
        owner[array] = client
    return partition


def _is_division(partition: Partition, num_examples: int) -> bool:
    """Returns True if `checked` finds no mistake; False if there is one, or if there may be one."""
    indices, names = partition.indices, partition.client_ids
    if not isinstance(indices, Ragged) or not indices.sizes.all():
        return False
    different = len(np.unique(names.values)) if isinstance(names, Names) else len(set(names))
    inside = indices.flat.min() >= 0 and indices.flat.max() < num_examples
    return bool(different == len(partition) and inside and np.bincount(indices.flat).max() == 1)


class FixedNumber(Partitioner):
    """Partitioners with a fixed number of clients. `num_clients`: positive."""

    num_clients: int = Field(gt=0)

    @property
    def known_num_clients(self) -> int:
        return self.num_clients


def numbered(indices: Sequence[np.ndarray]) -> Partition:
    """Returns a partition with clients "0", "1", …; each client's examples are in the order of the training set."""
    each = Ragged.of_sizes(flat_of(indices).astype(np.int64), sizes_of(indices))
    return Partition(Names(np.arange(len(each))), each.ascending())


def owned_by(owners: np.ndarray, num_clients: int) -> Partition:
    """Returns a partition as `numbered`. `owners`: the client of each example, int64 [N] in [0, num_clients)."""
    by_client = np.argsort(owners, kind="stable").astype(np.int64)
    sizes = np.bincount(owners, minlength=num_clients)
    return Partition(Names(np.arange(num_clients)), Ragged.of_sizes(by_client, sizes))


def dealt(order: np.ndarray, sizes: np.ndarray) -> Partition:
    """Returns a partition as `numbered`, in which each client in turn gets its number of the examples in `order` [N].

    `sizes`: int64 [clients], which sum to N.
    """
    owners = np.empty(len(order), np.int64)
    owners[order] = np.repeat(np.arange(len(sizes)), sizes)
    return owned_by(owners, len(sizes))


def equal_sizes(count: int, parts: int) -> np.ndarray:
    """Returns the sizes of `parts` parts of `count` items, int64 [parts]: they differ by at most one, the larger ones first."""
    return count // parts + (np.arange(parts) < count % parts)
