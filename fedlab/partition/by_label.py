"""Partitioners that give clients different mixtures of classes."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from fedlab.errors import DataError
from fedlab.partition.base import FixedNumber, equal_sizes, owned_by
from fedlab.partition.grouping import groups_of
from fedlab.types import ExampleSet, Partition


class Shards(FixedNumber):
    """McMahan et al. 2017, section 3: sort by label, cut into equal shards, deal `shards_per_client` to each client.

    `shards_per_client`: positive. If examples do not divide evenly, shards differ by one example. A client has at most as many
    classes as its shards contain: `shards_per_client` if every shard lies within a class.
    """

    shards_per_client: int = Field(2, gt=0)

    needs_classes: ClassVar[bool] = True

    def largest_client(self, num_examples: int) -> int:
        return self.shards_per_client * -(-num_examples // (self.num_clients * self.shards_per_client))

    def _divide(self, examples: ExampleSet, rng: np.random.Generator) -> Partition:
        num_shards = self.num_clients * self.shards_per_client
        if num_shards > len(examples):
            raise DataError(
                f"{len(examples)} examples cannot be cut into {num_shards} shards, {self.shards_per_client} for each client."
                " Lower partition.num_clients or partition.shards_per_client."
            )
        shuffled = rng.permutation(len(examples))  # removes the source's order within a class
        by_label = shuffled[np.argsort(examples.y[shuffled], kind="stable")]
        sizes = equal_sizes(len(examples), num_shards)
        hands = rng.permutation(num_shards).reshape(self.num_clients, self.shards_per_client)  # the shards of each client
        client_of_shard = np.empty(num_shards, np.int64)
        client_of_shard[hands] = np.arange(self.num_clients)[:, np.newaxis]
        owners = np.empty(len(examples), np.int64)
        owners[by_label] = np.repeat(client_of_shard, sizes)
        return owned_by(owners, self.num_clients)


class Pathological(FixedNumber):
    """Gives each client examples of `classes_per_client` different classes (Li et al. 2022, section 4: label skew by quantity).

    A class belongs to as many clients as any other, give or take one, and is divided equally among them. Raises `DataError` if a
    class would belong to no client, or a client would get none of its examples.
    """

    classes_per_client: int = Field(2, gt=0)

    needs_classes: ClassVar[bool] = True

    def _divide(self, examples: ExampleSet, rng: np.random.Generator) -> Partition:
        num_classes, chosen = examples.num_classes, self.classes_per_client
        if not num_classes / self.num_clients <= chosen <= num_classes:
            raise DataError(
                f"partition.classes_per_client is {chosen}: with {self.num_clients} clients and {num_classes} classes, it must "
                f"be from {-(-num_classes // self.num_clients)} to {num_classes}."
            )
        clients_of: list[list[int]] = [[] for _ in range(num_classes)]
        for client in rng.permutation(self.num_clients):
            least_owned = sorted(rng.permutation(num_classes), key=lambda label: len(clients_of[label]))
            for label in least_owned[:chosen]:
                clients_of[label].append(client)
        owners = np.empty(len(examples), np.int64)
        for label, clients in enumerate(clients_of):
            of_class = rng.permutation(np.flatnonzero(examples.y == label))
            if len(of_class) < len(clients):
                raise DataError(
                    f"class {label} has {len(of_class)} examples and belongs to {len(clients)} clients. Lower "
                    "partition.num_clients or partition.classes_per_client."
                )
            owners[of_class] = np.repeat(clients, equal_sizes(len(of_class), len(clients)))
        return owned_by(owners, self.num_clients)


class Dirichlet(FixedNumber):
    """Divides each class, or each group of a column, among the clients in proportions from a symmetric Dirichlet distribution.

    The per-class form of Yurochkin et al. 2019 (section 4), which later benchmarks use for the idea of Hsu et al. 2019.
    `alpha`: at least 1e-6; small values give each class to few clients, large values approach an equal division. `min_examples`:
    positive; the draw is repeated until every client has at least this many. After `max_tries` draws, raises `DataError`.
    `by`: the column, see `grouping.groups_of`; None: the classes. `bins`: the number of groups of a column of numbers.
    """

    # At 1e-6 each class already goes to one client; for much smaller values NumPy's sampler does not return
    alpha: float = Field(ge=1e-6, allow_inf_nan=False)
    min_examples: int = Field(1, gt=0)
    max_tries: int = Field(1000, gt=0)
    by: str | None = Field(None, min_length=1)
    bins: int = Field(10, gt=1)

    @property
    def needs_classes(self) -> bool:  # type: ignore[override]
        return self.by is None

    def _divide(self, examples: ExampleSet, rng: np.random.Generator) -> Partition:
        if self.num_clients * self.min_examples > len(examples):
            raise DataError(
                f"{len(examples)} examples cannot give each of {self.num_clients} clients {self.min_examples}."
                " Lower partition.min_examples or partition.num_clients."
            )
        groups, num_groups = groups_of(examples, self.by, self.bins)
        ends = self._draw_ends(np.bincount(groups, minlength=num_groups), rng)
        owners = np.empty(len(examples), np.int64)
        for group, group_ends in enumerate(ends):
            of_group = rng.permutation(np.flatnonzero(groups == group))
            owners[of_group] = np.repeat(np.arange(self.num_clients), np.diff(group_ends, prepend=0))
        return owned_by(owners, self.num_clients)

    def _draw_ends(self, class_sizes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Returns int64 [classes, clients]: the end of each client's share of each class."""
        concentration = np.full(self.num_clients, self.alpha)
        best = 0
        for _ in range(self.max_tries):
            proportions = rng.dirichlet(concentration, size=len(class_sizes))
            ends = np.rint(np.cumsum(proportions, axis=1) * class_sizes[:, np.newaxis]).astype(np.int64)
            ends[:, -1] = class_sizes  # the proportions sum to 1 up to rounding
            fewest = int(np.diff(ends, prepend=0, axis=1).sum(axis=0).min())
            if fewest >= self.min_examples:
                return ends
            best = max(best, fewest)
        raise DataError(
            f"no draw of {self.max_tries} with alpha={self.alpha:g} gave each of {self.num_clients} clients {self.min_examples}"
            f" examples (at best {best}). Raise partition.alpha, or lower partition.num_clients or partition.min_examples."
        )
