"""Cohort samplers, called as `sampler(num_clients, seed, round) -> Cohort`; the result depends on these three only."""

from __future__ import annotations

import abc
import functools
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from fedlab.errors import ConfigError, FedlabError
from fedlab.randomness import generator
from fedlab.sampling import Everyone, Sampling, Schedule
from fedlab.sampling import FixedSize as WithoutReplacement
from fedlab.sampling import Poisson as Independent
from fedlab.spec import Spec, shown, states
from fedlab.types import Cohort


class CohortSampler(Spec):
    """Samples the clients of a round. `dropout_rate`: in [0, 1), the probability that a sampled client vanishes before it
    reports."""

    makes: ClassVar[Mapping[str, tuple[str, ...]]] = {"__call__": ("fedlab.types.Cohort",)}

    dropout_rate: float = Field(0.0, ge=0, lt=1)

    def check(self, num_clients: int) -> None:
        """Raises `ConfigError` if these options cannot sample from `num_clients` clients."""

    def __call__(self, num_clients: int, seed: int, round: int) -> Cohort:
        """Returns the cohort of `round`, which counts from 1. Its clients, its dropouts, or both may be empty."""
        self.check(num_clients)
        # A client that is sampled twice would have twice the influence that noise hides
        chosen = _checked(self._choose(num_clients, seed, round), num_clients, f"{type(self).__name__}._choose")
        vanishes = np.zeros(len(chosen), bool)
        if self.dropout_rate:
            # Every client of the partition has a draw, sampled or not: a client's dropout does not depend on the other clients
            vanishes = generator(seed, "dropout", round).random(num_clients)[chosen] < self.dropout_rate
        return Cohort(round, clients=chosen[~vanishes], dropped=chosen[vanishes])

    def sampling(self, num_clients: int) -> Sampling | None:
        """Returns the sampling from `num_clients` clients that privacy accounting may assume; None if it is unknown.

        A class states this for itself. A subclass that does not define it counts as unknown, even if its base class states it.
        Dropouts give no amplification: a client that was sampled and vanished counts as if it had reported.
        """
        return None

    def most_clients(self, num_clients: int) -> int:
        """Returns the largest number of `num_clients` clients that report in one round."""
        return num_clients

    @property
    def are_equal(self) -> bool:
        """Returns True if every cohort has the same number of clients, of which none drops out."""
        return False

    @property
    def usual_clients(self) -> int | None:
        """Returns the approximate number of clients of a cohort if it is known before the data."""
        return None

    @abc.abstractmethod
    def _choose(self, num_clients: int, seed: int, round: int) -> np.ndarray:
        """Returns the sampled clients: int64 [sampled], ascending."""


def _checked(chosen: Any, num_clients: int, name: str) -> np.ndarray:
    """Returns `chosen` as int64 [sampled], ascending. Raises `FedlabError` if it is no list of clients. `name`: its function."""
    try:
        array = np.asarray(chosen)
    except ValueError:  # lists of several lengths
        array = np.asarray(None)
    if array.size == 0 and array.ndim == 1:
        return np.zeros(0, np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        given = shown(chosen) if array.dtype == object else f"{array.dtype} {list(array.shape)}"
        raise FedlabError(
            f"cohort: {name} returned {given}; it must return the clients' numbers: a one-dimensional integer array."
        )
    outside = array[(array < 0) | (array >= num_clients)]
    if len(outside):
        raise FedlabError(
            f"cohort: {name} returned the client {outside[0]}; the {num_clients:,} clients have the numbers 0 to "
            f"{num_clients - 1:,}."
        )
    ordered = np.sort(array).astype(np.int64)
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    if len(twice):
        raise FedlabError(f"cohort: {name} returned the client {twice[0]} twice; it must return each client at most once.")
    return ordered


class FixedSize(CohortSampler):
    """Samplers of a fixed number of different clients. `clients_per_round`: from 1 to the number of clients."""

    clients_per_round: int = Field(gt=0)

    def check(self, num_clients: int) -> None:
        if self.clients_per_round > num_clients:
            raise ConfigError(
                f"cohort.clients_per_round is {self.clients_per_round}, but there are only {num_clients} clients."
                f" Choose 1 to {num_clients}, cohort=all, or a partition with more clients."
            )

    def most_clients(self, num_clients: int) -> int:
        return self.clients_per_round if states(self, "sampling") else num_clients  # a subclass may sample more

    @property
    def are_equal(self) -> bool:
        return states(self, "sampling") and not self.dropout_rate

    @property
    def usual_clients(self) -> int:
        return self.clients_per_round


class Uniform(FixedSize):
    """Samples uniformly: each set of `clients_per_round` clients is equally likely."""

    def sampling(self, num_clients: int) -> Sampling:
        return WithoutReplacement(num_clients, self.clients_per_round)

    def _choose(self, num_clients: int, seed: int, round: int) -> np.ndarray:
        return np.sort(generator(seed, "cohort", round).choice(num_clients, self.clients_per_round, replace=False))


class InTurn(FixedSize):
    """Takes clients in turn, in one random order: at least ⌊N / clients_per_round⌋ − 1 rounds lie between a client's turns.

    Suited to DP-FTRL (Kairouz et al. 2021): few, widely separated participations per client, by a schedule that uses no data.
    """

    def sampling(self, num_clients: int) -> Sampling:
        return Schedule.of_turns(num_clients, self.clients_per_round)

    def _choose(self, num_clients: int, seed: int, round: int) -> np.ndarray:
        order = _turns(seed, num_clients)
        turns = np.arange((round - 1) * self.clients_per_round, round * self.clients_per_round)
        return np.sort(order[turns % num_clients])


@functools.lru_cache(4, typed=True)
def _turns(seed: int, num_clients: int) -> np.ndarray:
    """Returns the order in which clients take turns, the same in every round: int64 [num_clients]."""
    return generator(seed, "turns").permutation(num_clients)


class Poisson(CohortSampler):
    """Samples each client independently with probability `sampling_rate` in (0, 1], as amplification by sampling assumes.

    A cohort may be empty; its round counts like any other (Abadi et al. 2016, section 3.1).
    """

    sampling_rate: float = Field(gt=0, le=1)

    def sampling(self, num_clients: int) -> Sampling:
        return Independent(num_clients, self.sampling_rate)

    def _choose(self, num_clients: int, seed: int, round: int) -> np.ndarray:
        return np.flatnonzero(generator(seed, "cohort", round).random(num_clients) < self.sampling_rate)


class All(CohortSampler):
    """Samples every client in every round."""

    def sampling(self, num_clients: int) -> Sampling:
        return Everyone(num_clients)

    @property
    def are_equal(self) -> bool:
        return states(self, "sampling") and not self.dropout_rate

    def _choose(self, num_clients: int, seed: int, round: int) -> np.ndarray:
        return np.arange(num_clients)
