"""Cohort samplers: called as `sampler(num_clients, seed, round) -> Cohort`, a function of these three alone."""

from __future__ import annotations

import abc

import numpy as np
from pydantic import Field

from fedlab.errors import ConfigError
from fedlab.randomness import generator
from fedlab.sampling import Everyone, Sampling, Schedule
from fedlab.sampling import FixedSize as WithoutReplacement
from fedlab.sampling import Poisson as Independent
from fedlab.spec import Spec
from fedlab.types import Cohort


class CohortSampler(Spec):
    """Chooses the clients of a round. `dropout_rate`: in [0, 1), the chance that a chosen client vanishes before it reports."""

    dropout_rate: float = Field(0.0, ge=0, lt=1)

    def check(self, num_clients: int) -> None:
        """Raises `ConfigError` when a partition of `num_clients` clients cannot be sampled so."""

    def __call__(self, num_clients: int, seed: int, round: int) -> Cohort:
        """The cohort of `round`, which counts from 1. Either part of it, or both, may be empty."""
        self.check(num_clients)
        chosen = self._choose(num_clients, seed, round)
        # One draw per client of the partition, chosen or not: whether a client vanishes depends on nobody else's being there.
        vanishes = generator(seed, "dropout", round).random(num_clients)[chosen] < self.dropout_rate
        return Cohort(round, clients=chosen[~vanishes], dropped=chosen[vanishes])

    def sampling(self, num_clients: int) -> Sampling | None:
        """Returns how cohorts are drawn from `num_clients` clients, as privacy accounting may assume it; None: nothing is known.

        A class states this for itself. A subclass that does not define it counts as unknown, whatever its base class states.
        Dropouts amplify nothing: a client that was chosen and vanished counts as if it had reported.
        """
        return None

    @abc.abstractmethod
    def _choose(self, num_clients: int, seed: int, round: int) -> np.ndarray:
        """int64 [sampled], ascending."""


class FixedSize(CohortSampler):
    """`clients_per_round` different clients, a positive number of at most as many as there are."""

    clients_per_round: int = Field(gt=0)

    def check(self, num_clients: int) -> None:
        if self.clients_per_round > num_clients:
            raise ConfigError(
                f"cohort.clients_per_round is {self.clients_per_round}, but there are only {num_clients} clients."
                f" Choose 1 to {num_clients}, cohort=all, or a partition with more clients."
            )


class Uniform(FixedSize):
    """Each set of so many clients is equally likely."""

    def sampling(self, num_clients: int) -> Sampling:
        return WithoutReplacement(num_clients, self.clients_per_round)

    def _choose(self, num_clients: int, seed: int, round: int) -> np.ndarray:
        return np.sort(generator(seed, "cohort", round).choice(num_clients, self.clients_per_round, replace=False))


class InTurn(FixedSize):
    """Clients take turns in one order, drawn once: between two turns of a client lie ⌊N / clients_per_round⌋ − 1 rounds or more.

    What DP-FTRL is made for (Kairouz et al. 2021): few participations per client, far apart, by a plan that looks at no data.
    """

    def sampling(self, num_clients: int) -> Sampling:
        return Schedule(num_clients, self.clients_per_round, apart=max(num_clients // self.clients_per_round - 1, 0))

    def _choose(self, num_clients: int, seed: int, round: int) -> np.ndarray:
        order = generator(seed, "turns").permutation(num_clients)
        turns = np.arange((round - 1) * self.clients_per_round, round * self.clients_per_round)
        return np.sort(order[turns % num_clients])


class Poisson(CohortSampler):
    """Every client by itself, with probability `sampling_rate` in (0, 1]: what amplification by sampling assumes.

    A cohort may come out empty; it is a round like any other (Abadi et al. 2016, section 3.1).
    """

    sampling_rate: float = Field(gt=0, le=1)

    def sampling(self, num_clients: int) -> Sampling:
        return Independent(num_clients, self.sampling_rate)

    def _choose(self, num_clients: int, seed: int, round: int) -> np.ndarray:
        return np.flatnonzero(generator(seed, "cohort", round).random(num_clients) < self.sampling_rate)


class All(CohortSampler):
    """Every client in every round."""

    def sampling(self, num_clients: int) -> Sampling:
        return Everyone(num_clients)

    def _choose(self, num_clients: int, seed: int, round: int) -> np.ndarray:
        return np.arange(num_clients)
