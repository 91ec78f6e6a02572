"""Partitioners that use only the number of examples."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from fedlab.partition.base import FixedNumber, Partitioner, dealt, equal_sizes, owned_by
from fedlab.types import ExampleSet, Partition


class Iid(FixedNumber):
    """A random division into parts of equal size; sizes differ by at most one example."""

    def largest_client(self, num_examples: int) -> int:
        return -(-num_examples // self.num_clients)

    def _divide(self, examples: ExampleSet, rng: np.random.Generator) -> Partition:
        return dealt(rng.permutation(len(examples)), equal_sizes(len(examples), self.num_clients))


class Quantity(FixedNumber):
    """A random division into parts of unequal size: sizes follow a log-normal distribution, each at least 1.

    `sigma`: at least 0, the standard deviation of the logarithm of a client's size; 0 gives equal sizes.
    """

    sigma: float = Field(ge=0, allow_inf_nan=False)

    def _divide(self, examples: ExampleSet, rng: np.random.Generator) -> Partition:
        log_size = self.sigma * rng.standard_normal(self.num_clients)
        share = np.exp(log_size - log_size.max())  # the largest becomes 1: no sigma overflows
        spare = len(examples) - self.num_clients  # examples left after every client has one
        ends = np.rint(np.cumsum(share) / share.sum() * spare).astype(np.int64) + np.arange(1, self.num_clients + 1)
        return dealt(rng.permutation(len(examples)), np.diff(ends, prepend=0))


class Single(Partitioner):
    """One client with all examples: centralised training."""

    @property
    def known_num_clients(self) -> int:
        return 1

    def _divide(self, examples: ExampleSet, rng: np.random.Generator) -> Partition:
        return owned_by(np.zeros(len(examples), np.int64), 1)
