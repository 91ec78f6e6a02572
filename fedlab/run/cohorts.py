"""Compares the cohorts of a user's own sampler with what the sampler states, while a run draws them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from fedlab.cohort import Buffered, CohortSampler
from fedlab.errors import ConfigError
from fedlab.sampling import Everyone, FixedSize, Poisson, Sampling, Schedule
from fedlab.spec import is_of_fedlab
from fedlab.types import Cohort

CHANCE = 1e-9  # of refusing, in a run of any length, a sampler that draws as it states


def drawn(sampler: CohortSampler, stated: Sampling | None, seconds: np.ndarray | None) -> Callable[[int, int, int], Cohort]:
    """Returns `watched(sampler, stated)` under a clock. `seconds`: float64 [clients]; None: no time is simulated.

    A synchronous round takes as long as the slowest client that reports, and no time if nobody does.
    """
    found = watched(sampler, stated)
    if seconds is None:
        return found
    if isinstance(sampler, Buffered):
        return sampler.timed(seconds)

    def timed(num_clients: int, seed: int, round: int) -> Cohort:
        cohort = found(num_clients, seed, round)
        return dataclasses.replace(cohort, seconds=float(seconds[cohort.clients].max(initial=0.0)))

    return timed


def watched(sampler: CohortSampler, stated: Sampling | None) -> CohortSampler | Watched:
    """Returns `sampler`, or, if it is not one of fedlab's own, a sampler that compares its cohorts with `stated`.

    `stated`: the sampling that ε assumes; None: ε assumes nothing about cohorts.
    """
    return sampler if is_of_fedlab(type(sampler).__module__) else Watched(sampler, stated)


def require_stated(sampler: CohortSampler, stated: Sampling | None, num_clients: int, source: int, num_rounds: int) -> None:
    """Draws the cohorts of all rounds from `source`, without training. `stated`: as for `watched`.

    Raises `ConfigError` if one contradicts `stated`, so that no round is trained, and no ε shown, for a statement that is untrue.
    """
    watching = watched(sampler, stated)
    if stated is not None and isinstance(watching, Watched):
        for round in range(1, num_rounds + 1):
            watching(num_clients, source, round)


class Watched:
    """Draws the same cohorts as `sampler`. To be called for ascending rounds.

    Raises `ConfigError` for two different cohorts of one round, whose draws do not follow from the arguments, and for a cohort
    that contradicts `stated`: certainly, or by counts of participations whose probability is at most `CHANCE` over all rounds.
    The data affect none of this, so a run that ends here reveals nothing about them.
    """

    def __init__(self, sampler: CohortSampler, stated: Sampling | None):
        self._sampler, self._stated, self._name = sampler, stated, f"cohort: {type(sampler).__name__}"
        self._rounds = 0  # drawn so far
        self._times, self._last = np.zeros(0, np.int64), np.zeros(0, np.int64)  # per client: participations, last round

    def __call__(self, num_clients: int, seed: int, round: int) -> Cohort:
        for earlier in range(self._rounds + 1, round):  # of a run that continues
            self._note(self._drawn(num_clients, seed, earlier), num_clients)
        cohort = self._drawn(num_clients, seed, round)
        self._note(cohort, num_clients)
        return cohort

    def _drawn(self, num_clients: int, seed: int, round: int) -> Cohort:
        first, second = (self._sampler(num_clients, seed, round) for _ in range(2))
        if not (np.array_equal(first.clients, second.clients) and np.array_equal(first.dropped, second.dropped)):
            raise ConfigError(
                f"{self._name} gave two different cohorts for the same number of clients, seed and round ({round}), so the run "
                'could not be repeated: draw from fedlab.randomness.generator(seed, "cohort", round).'
            )
        sampled = _sampled(first)
        if len(np.unique(sampled)) < len(sampled) or np.any((sampled < 0) | (sampled >= num_clients)):
            raise ConfigError(f"{self._name} sampled a client twice, or one that does not exist, in round {round}.")
        return first

    def _note(self, cohort: Cohort, num_clients: int) -> None:
        if not self._rounds:
            self._times, self._last = np.zeros(num_clients, np.int64), np.full(num_clients, -(2**62), np.int64)
        self._rounds += 1
        sampled = _sampled(cohort)
        self._times[sampled] += 1
        gap = int((self._rounds - self._last[sampled]).min(initial=2**62)) - 1
        self._last[sampled] = self._rounds
        problem = self._contradiction(len(sampled), gap)
        if problem:
            raise ConfigError(
                f"{self._name} states {self._stated!r}, and in round {self._rounds} {problem}: no ε can be claimed. Return from "
                "sampling(num_clients) what the class does."
            )

    def _contradiction(self, sampled: int, gap: int) -> str | None:
        """Returns the contradiction between `stated` and the rounds so far, in words. `gap`: rounds between participations."""
        stated, most = self._stated, int(self._times.max())
        if isinstance(stated, (Everyone, FixedSize)) and sampled != stated.expected_cohort:
            return f"it sampled {sampled:,} clients"
        if isinstance(stated, Schedule):
            if gap < stated.apart:
                return f"a client took part after only {gap:,} rounds"
            return f"a client has taken part {most:,} times" if most > stated.participations(self._rounds) else None
        if isinstance(stated, (Poisson, FixedSize)):
            rate = stated.expected_cohort / stated.population
            each = [(int(count), self._rounds, len(self._times)) for count in (most, self._times.min())]
            total = (int(self._times.sum()), self._rounds * len(self._times), 1)
            if any(_is_unlikely(*counted, rate, self._rounds) for counted in (*each, total)):
                return "clients have taken part more often, or less often, than chance allows"
        return None


def _sampled(cohort: Cohort) -> np.ndarray:
    """Returns all clients of a cohort: int64 [sampled]. An empty array, as of nobody dropped, may have another type."""
    return np.concatenate([np.asarray(part, np.int64) for part in (cohort.clients, cohort.dropped)])


def _is_unlikely(count: int, trials: int, tries: int, rate: float, round: int) -> bool:
    """Returns True if one of `tries` binomial counts is as far from its mean as `count` with a probability of at most
    `CHANCE` / (3 round (round + 1)), by Chernoff's bound; over all rounds these add up to at most `CHANCE` / 3."""
    share = count / trials
    terms = [(p, q) for p, q in ((share, rate), (1 - share, 1 - rate)) if p > 0]
    if any(q <= 0 for _, q in terms):
        return True
    exponent = trials * sum(p * math.log(p / q) for p, q in terms)
    return exponent > math.log(2 * tries * 3 * round * (round + 1) / CHANCE)
