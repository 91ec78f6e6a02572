"""Partitioners that look at nothing but the number of examples."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from fedlab.partition.base import FixedNumber, Partitioner, numbered
from fedlab.types import ExampleSet, Partition


class Iid(FixedNumber):
    """A random division into equal parts; where that does not come out even, sizes differ by one."""

    def _divide(self, examples: ExampleSet, rng: np.random.Generator) -> Partition:
        return numbered(np.array_split(rng.permutation(len(examples)), self.num_clients))


class Quantity(FixedNumber):
    """A random division into unequal parts: sizes follow a log-normal distribution, each at least 1.

    `sigma`: at least 0, the standard deviation of the logarithm of a client's size; 0 is the equal division.
    """

    sigma: float = Field(ge=0, allow_inf_nan=False)

    def _divide(self, examples: ExampleSet, rng: np.random.Generator) -> Partition:
        log_size = self.sigma * rng.standard_normal(self.num_clients)
        share = np.exp(log_size - log_size.max())  # the largest becomes 1: no sigma overflows
        spare = len(examples) - self.num_clients  # what is left to give once everybody has one
        ends = np.rint(np.cumsum(share) / share.sum() * spare).astype(np.int64) + np.arange(1, self.num_clients + 1)
        return numbered(np.split(rng.permutation(len(examples)), ends[:-1]))


class Single(Partitioner):
    """One client with everything: centralised training."""

    @property
    def known_num_clients(self) -> int:
        return 1

    def _divide(self, examples: ExampleSet, rng: np.random.Generator) -> Partition:
        return numbered([np.arange(len(examples))])
