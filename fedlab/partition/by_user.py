"""The natural partition: each user's examples belong to the client of that user."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from fedlab.errors import DataError
from fedlab.partition.base import Partitioner
from fedlab.ragged import Names, grouped
from fedlab.types import ExampleSet, Partition


class ByUser(Partitioner):
    """One client per user id, in the order of the ids; examples of users that are left out belong to no client.

    `min_examples`: positive; leaves out users with fewer examples. `max_users`: positive; keeps at most this many users, chosen
    at random. Raises `DataError` if the data has no user ids or no user is left.
    """

    min_examples: int = Field(1, gt=0)
    max_users: int | None = Field(None, gt=0)

    needs_user_ids: ClassVar[bool] = True

    @property
    def known_num_clients(self) -> None:
        return None

    def _divide(self, examples: ExampleSet, rng: np.random.Generator) -> Partition:
        if examples.user_ids is None:
            raise DataError(
                "partition=by_user needs user ids, and the data has none. Choose data=mnist_by_writer, data=emnist,"
                " data=femnist, data=shakespeare, data=npz with an array user_ids, or another partition."
            )
        users, examples_of = grouped(examples.user_ids)
        sizes = examples_of.sizes
        kept = np.flatnonzero(sizes >= self.min_examples)
        if not len(kept):
            raise DataError(
                f"no user has {self.min_examples} examples; the largest has {sizes.max(initial=0)}. Lower partition.min_examples."
            )
        if self.max_users is not None and self.max_users < len(kept):
            kept = np.sort(rng.choice(kept, self.max_users, replace=False))
        everyone = Partition(Names.of(users), examples_of)
        return everyone if len(kept) == len(users) else everyone.select(kept)
