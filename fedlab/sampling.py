"""Who takes part in a round, as far as privacy is concerned. What a claim may assume is said here once, in words.

Dropped clients count as if they had reported: that somebody happened not to answer is no reason to claim more.
"""

from __future__ import annotations

import abc
import dataclasses
import itertools
from collections.abc import Iterable, Sequence

from fedlab.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Sampling(abc.ABC):
    """How a cohort is drawn from `population` users."""

    population: int

    def __post_init__(self) -> None:
        if self.population < 1:
            raise ConfigError(f"a population of {self.population:,} users: it must be at least 1.")

    @property
    @abc.abstractmethod
    def expected_cohort(self) -> float:
        """Clients per round, on average; the constant by which sums are divided, whoever turns up."""

    @property
    @abc.abstractmethod
    def words(self) -> str:
        """What is assumed of the sampling."""

    def scaled(self, population: int, cohort: float) -> Sampling:
        """The same way of drawing another cohort from another population."""
        raise ConfigError(f"no simulated privacy for this sampling ({self.words}): use cohort=poisson or cohort=uniform.")


@dataclasses.dataclass(frozen=True)
class Poisson(Sampling):
    """Every user by itself, with probability `rate`."""

    rate: float

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.rate <= 1:
            raise ConfigError(f"a sampling rate of {self.rate:g}: it must be above 0 and at most 1.")

    @property
    def expected_cohort(self) -> float:
        return self.rate * self.population

    @property
    def words(self) -> str:
        return f"Poisson: each of {self.population:,} by itself with probability {self.rate:.4g} a round, unseen by others"

    def scaled(self, population: int, cohort: float) -> Poisson:
        return Poisson(population, cohort / population)


@dataclasses.dataclass(frozen=True)
class FixedSize(Sampling):
    """`cohort` different users, each set of them equally likely."""

    cohort: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.cohort <= self.population:
            raise ConfigError(f"a cohort of {self.cohort:,} from a population of {self.population:,}: it must be 1 to that.")

    @property
    def expected_cohort(self) -> float:
        return float(self.cohort)

    @property
    def words(self) -> str:
        return f"fixed size: {self.cohort:,} of {self.population:,} a round, uniformly without replacement, unseen by others"

    def scaled(self, population: int, cohort: float) -> FixedSize:
        return FixedSize(population, round(cohort))


@dataclasses.dataclass(frozen=True)
class Everyone(Sampling):
    """All users in every round."""

    @property
    def expected_cohort(self) -> float:
        return float(self.population)

    @property
    def words(self) -> str:
        return f"none: all {self.population:,} take part in every round"

    def scaled(self, population: int, cohort: float) -> Everyone:
        if cohort != population:
            raise ConfigError(f"a cohort of {cohort:,.10g} of {population:,} users, but everyone takes part: make them equal.")
        return Everyone(population)


@dataclasses.dataclass(frozen=True)
class Schedule(Sampling):
    """A plan made without looking at the data. No user takes part more than `most` times (None: no limit), and between two
    times of one user lie at least `apart` rounds."""

    cohort: float
    most: int | None = None
    apart: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.cohort <= self.population:
            raise ConfigError(f"a cohort of {self.cohort:,.10g} from a population of {self.population:,}: it must not be larger.")
        if (self.most is not None and self.most < 1) or self.apart < 0:
            raise ConfigError(f"participations={self.most} and separation={self.apart}: at least 1 and at least 0.")

    @classmethod
    def of(cls, population: int, cohorts: Sequence[Iterable[int]]) -> Schedule:
        """The schedule that a list of cohorts, all clients chosen in each round, turns out to be."""
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
        if self.most is None and not self.apart:
            return "no amplification: any user may take part in every round"
        limit = "any number of times" if self.most is None else f"at most {self.most:,} time{'s' * (self.most > 1)}"
        apart = f", {self.apart:,} rounds or more in between" if self.apart and self.most != 1 else ""
        return f"no amplification: a user takes part {limit}{apart}, by a schedule that looks at no data"

    def participations(self, rounds: int) -> int:
        """How often one user can have taken part after so many rounds."""
        possible = -(-rounds // (self.apart + 1))
        return possible if self.most is None else min(self.most, possible)

    def scaled(self, population: int, cohort: float) -> Schedule:
        return dataclasses.replace(self, population=population, cohort=cohort)
