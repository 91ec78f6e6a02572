"""The ways to sample cohorts that privacy accounting supports. Each class states the assumptions of its claim in words.

A dropped client counts as if it had reported, so dropouts do not lower ε.
"""

from __future__ import annotations

import abc
import dataclasses
import itertools
import math
from collections.abc import Iterable, Sequence

from fedlab.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Sampling(abc.ABC):
    """A way to sample a cohort from `population` users."""

    population: int
    # The fewest clients that the protocol sums, and the probability that a sampled client reports to it
    least_clients: int = dataclasses.field(default=1, kw_only=True)
    reports: float = dataclasses.field(default=1.0, kw_only=True)

    def __post_init__(self) -> None:
        if self.population < 1:
            raise ConfigError(f"population={self.population:,}: it must be at least 1 user.")

    @property
    def exposed(self) -> float:
        """The probability per round that one sampled user decides whether the updates of the others are summed.

        In such a round the user changes the sum by more than one clipped update, and amplification by sampling does not apply.
        """
        return 0.0

    @property
    @abc.abstractmethod
    def expected_cohort(self) -> float:
        """The average number of clients per round. Sums are divided by this constant, and not by the number of reports."""

    @property
    @abc.abstractmethod
    def words(self) -> str:
        """The assumptions on the sampling, in words."""

    def scaled(self, population: int, cohort: float) -> Sampling:
        """Returns the same kind of sampling for another cohort size and population."""
        raise ConfigError(f"this sampling ({self.words}) has no simulated privacy: use cohort=poisson or cohort=uniform.")


@dataclasses.dataclass(frozen=True)
class Poisson(Sampling):
    """Samples each user independently with probability `rate`, in (0, 1]."""

    rate: float

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.rate <= 1:
            raise ConfigError(f"sampling rate {self.rate:g}: it must be above 0 and at most 1.")

    @property
    def expected_cohort(self) -> float:
        return self.rate * self.population

    @property
    def exposed(self) -> float:
        """The probability that exactly `least_clients` − 1 of the other users report."""
        return _chance(self.least_clients - 1, self.population - 1, self.rate * self.reports)

    @property
    def words(self) -> str:
        return (
            f"Poisson: each of {self.population:,} independently with probability {self.rate:.4g} a round; the cohort is secret"
        )

    def scaled(self, population: int, cohort: float) -> Poisson:
        return dataclasses.replace(self, population=population, rate=cohort / population)


@dataclasses.dataclass(frozen=True)
class FixedSize(Sampling):
    """Samples `cohort` different users; each set of users is equally likely."""

    cohort: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.cohort <= self.population:
            raise ConfigError(f"a cohort of {self.cohort:,} users: it must be 1 to the population of {self.population:,}.")

    @property
    def expected_cohort(self) -> float:
        return float(self.cohort)

    @property
    def exposed(self) -> float:
        """The probability that exactly `least_clients` − 1 of the others in the cohort report, and that either the user or its
        replacement reports, but not both."""
        return _chance(self.least_clients - 1, self.cohort - 1, self.reports) * 2 * self.reports * (1 - self.reports)

    @property
    def words(self) -> str:
        return f"fixed size: {self.cohort:,} of {self.population:,} a round, uniformly without replacement; the cohort is secret"

    def scaled(self, population: int, cohort: float) -> FixedSize:
        return dataclasses.replace(self, population=population, cohort=round(cohort))


@dataclasses.dataclass(frozen=True)
class Everyone(Sampling):
    """Samples all users in every round."""

    @property
    def expected_cohort(self) -> float:
        return float(self.population)

    @property
    def words(self) -> str:
        return f"none: all {self.population:,} take part in every round"

    def scaled(self, population: int, cohort: float) -> Everyone:
        if cohort != population:
            raise ConfigError(
                f"a cohort of {cohort:,.10g} of {population:,} users, but all users take part in every round: make them equal."
            )
        return Everyone(population)


@dataclasses.dataclass(frozen=True)
class Schedule(Sampling):
    """A schedule of cohorts that does not depend on the data.

    Each user takes part at most `most` times (None: no limit), with at least `apart` rounds between two participations.
    `in_turn`: users take part in one fixed order, which repeats.
    """

    cohort: float
    most: int | None = None
    apart: int = 0
    in_turn: bool = False
    because: str = ""  # the reason why no amplification is claimed, if there is one to state

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.cohort <= self.population:
            raise ConfigError(
                f"a cohort of {self.cohort:,.10g} users: it must be above 0 and at most the population of {self.population:,}."
            )
        if (self.most is not None and self.most < 1) or self.apart < 0:
            raise ConfigError(f"participations={self.most} and separation={self.apart}: they must be at least 1 and at least 0.")

    @classmethod
    def of_turns(cls, population: int, cohort: int) -> Schedule:
        """Returns the schedule in which each round takes the next `cohort` users of one fixed order, again and again."""
        return cls(population, cohort, apart=max(population // cohort - 1, 0), in_turn=True)

    @classmethod
    def of(cls, population: int, cohorts: Sequence[Iterable[int]]) -> Schedule:
        """Returns the schedule of a list of cohorts. `cohorts`: all clients sampled in each round."""
        rounds: dict[int, list[int]] = {}
        for number, cohort in enumerate(cohorts):
            for client in cohort:
                rounds.setdefault(client, []).append(number)
        chosen = sum(len(r) for r in rounds.values())
        gaps = [b - a - 1 for r in rounds.values() for a, b in itertools.pairwise(r)]
        most = max((len(r) for r in rounds.values()), default=1)
        return cls(population, max(chosen, 1) / max(len(cohorts), 1), most, min(gaps, default=len(cohorts)))

    @property
    def expected_cohort(self) -> float:
        return float(self.cohort)

    @property
    def words(self) -> str:
        if self.most is None and not self.apart and not self.in_turn:
            return "no amplification: any user may take part in every round" + (f" ({self.because})" if self.because else "")
        without = f"in turn, {self.cohort:,.10g} of {self.population:,} a round" if self.in_turn else "any number of times"
        limit = without if self.most is None else f"at most {self.most:,} time{'s' * (self.most > 1)}"
        gap = f"{self.apart:,} round{'s' * (self.apart > 1)}"
        apart = f", with at least {gap} in between" if self.apart and self.most != 1 else ""
        return f"no amplification: a user takes part {limit}{apart}, by a schedule that does not depend on data"

    def participations(self, rounds: int) -> int:
        """Returns the largest number of participations of one user in the first `rounds` rounds; exact for users in turn."""
        possible = -(-rounds // (self.apart + 1))
        if self.in_turn:
            possible = math.ceil(rounds * self.cohort / self.population)
        return possible if self.most is None else min(self.most, possible)

    def require_possible(self, rounds: int) -> None:
        """Raises `ConfigError` if no schedule of `rounds` rounds keeps the limits: the population has too few users for them."""
        disjoint = min(self.apart + 1, rounds)  # consecutive rounds that share no user
        if disjoint * self.cohort > self.population:
            raise ConfigError(
                f"a separation of {self.apart:,} rounds needs {disjoint * self.cohort:,.10g} users, {self.cohort:,.10g} in each "
                f"of {disjoint:,} rounds, but the population is {self.population:,}: give a smaller separation or cohort."
            )
        if self.most is not None and rounds * self.cohort > self.most * self.population:
            needed = math.ceil(rounds * self.cohort / self.population)
            raise ConfigError(
                f"{rounds:,} rounds of {self.cohort:,.10g} users cannot be drawn from {self.population:,} users who take part at "
                f"most {self.most:,} time{'s' * (self.most > 1)}: some take part at least {needed:,} times."
            )

    def scaled(self, population: int, cohort: float) -> Schedule:
        if self.in_turn:
            return Schedule.of_turns(population, round(cohort))
        because = "the limits of this run's schedule say nothing of the federation that it simulates"
        return Schedule(population, cohort, because=because if self.most is not None or self.apart else self.because)


def unamplified(sampling: Sampling, because: str) -> Schedule:
    """Returns cohorts of the same size for which only independence of the data is claimed."""
    return Schedule(sampling.population, sampling.expected_cohort, because=because)


def _chance(successes: int, trials: int, chance: float) -> float:
    """Returns the binomial probability of exactly `successes` successes; 0 for fewer than one."""
    if not 1 <= successes <= trials or chance == 0:
        return 0.0
    if chance == 1:
        return float(successes == trials)
    ways = math.lgamma(trials + 1) - math.lgamma(successes + 1) - math.lgamma(trials - successes + 1)
    return math.exp(ways + successes * math.log(chance) + (trials - successes) * math.log1p(-chance))
