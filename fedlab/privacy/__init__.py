"""Differential privacy: one spec gives both the mechanism that adds noise and the account of its ε.

Configurations name these specs; they import TensorFlow and dp_accounting only when used. `spec.plan(sampling, rounds)`
determines the noise; the plan has the aggregator and the ledger.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import BeforeValidator, Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from fedlab.errors import ConfigError
from fedlab.sampling import Everyone, FixedSize, Poisson, Sampling, Schedule
from fedlab.spec import Promise, Spec

if TYPE_CHECKING:
    import tensorflow_federated as tff

    from fedlab.privacy.accounts import Account
    from fedlab.privacy.plan import PrivacyPlan

__all__ = [
    "EXACT",
    "Errors",
    "Everyone",
    "FixedSize",
    "GaussianAdaptive",
    "GaussianFixed",
    "Mechanism",
    "NoPrivacy",
    "Poisson",
    "NoiseSource",
    "Privacy",
    "Sampling",
    "Schedule",
    "Tree",
]

# From 1.8e19 on, the sum of squares overflows float32, the norm is infinite, and clipping, which divides by it, gives NaN.
# Squares of numbers below 1e-19 underflow: 100 million such coordinates have a norm of up to 1e-15, but count as zero, which
# is negligible beside the least norm
LEAST_NORM, LARGEST_NORM = 1e-12, 1e18
Norm = Annotated[float, Field(ge=LEAST_NORM, le=LARGEST_NORM)]  # clip norm of updates or gradients
Share = Annotated[float, Field(gt=0, lt=1)]


def _not_os(value: Any) -> Any:
    if value == "os":
        raise ValueError(
            "noise_source=os is now noise_source=key, the default: keep noise.key to resume, or remove it with `fedlab forget`"
        )
    return value


# key: a new random key per run from the operating system, in noise.key. seed: the run's seed, which the manifest makes public
NoiseSource = Annotated[Literal["key", "seed"], BeforeValidator(_not_os)]


@dataclasses.dataclass(frozen=True)
class Errors:
    """The errors of a run's sums before noise is added."""

    norm: float  # norm of the errors of all values of one sum
    chance: float  # probability per round that the norm is larger
    source: str  # in words

    @property
    def apart(self) -> float:
        """The amount by which the sums of neighbours can differ beyond the clip norm."""
        return 2 * self.norm

    def check(self, clip_norm: float) -> None:
        """Raises `ConfigError` if the errors are not well below the least clip norm."""
        if self.apart > clip_norm / 2:
            raise ConfigError(
                f"{self.source}, which makes the sums of neighbours differ by up to {self.apart:.3g} more; at most half the "
                f"least clip norm, {clip_norm:g}, is allowed: lower secure.precision, use privacy=gaussian_fixed with a larger "
                "clip norm, or secure=masked."
            )


EXACT = Errors(0.0, 0.0, "")


class Privacy(Spec):
    """The options of a mechanism, or of no mechanism."""

    makes: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "plan": ("fedlab.privacy.plan.PrivacyPlan",),
        "account": ("fedlab.privacy.accounts.Account",),
        "aggregator": ("tensorflow_federated.aggregators.UnweightedAggregationFactory",),
    }

    adds_noise: ClassVar[bool] = True
    takes_weights: ClassVar[bool] = False  # clients have equal weights: a weighted client would have more influence
    rests_on_cohorts: ClassVar[bool] = True  # True: ε assumes that the cohort is secret
    # Parts of the process's state that contain noise, or the source of noise. They must follow from the number of rounds
    # alone: checkpoints do not contain them, and a resumed run draws them again
    noise_state: ClassVar[tuple[str, ...]] = ()

    @abc.abstractmethod
    def plan(self, sampling: Sampling, rounds: int, errors: Errors = EXACT) -> PrivacyPlan:
        """Returns the noise, δ and ledger of a run of `rounds` rounds with these cohorts. Raises `ConfigError`."""


class NoPrivacy(Privacy):
    """No noise and no guarantee: keeps the run's own aggregator."""

    adds_noise: ClassVar[bool] = False
    takes_weights: ClassVar[bool] = True

    def plan(self, sampling: Sampling, rounds: int, errors: Errors = EXACT) -> PrivacyPlan:
        from fedlab.privacy import plan

        return plan.unprotected(self, sampling, rounds)


class Mechanism(Privacy):
    """The common base of all mechanisms. Give exactly one of `noise_multiplier` and `target_epsilon`.

    Simulated privacy: with `simulated_cohort` M, the run's cohort of m clients represents M users of `population`. The ledger is
    that of the large federation; the run's own sums get m / M of its noise, so that an average is as noisy as in the large
    federation (McMahan et al. 2018; Augenstein et al. 2020). The run's own clients have less protection; the plan reports
    their ε.
    """

    noise_multiplier: NonNegativeFloat | None = None  # z: standard deviation of the noise on the sum / clip norm
    target_epsilon: PositiveFloat | None = None  # determines the z that spends this ε by the last round
    delta: Share | None = None  # None: 1 / population^1.1
    stop_at_epsilon: PositiveFloat | None = None  # end the run before ε would exceed this
    noise_source: NoiseSource = "key"  # source of the noise and of the cohorts
    population: PositiveInt | None = None  # None: the run's clients
    simulated_cohort: PositiveInt | None = None  # M; None: no simulation

    @model_validator(mode="after")
    def _one_noise(self) -> Mechanism:
        if (self.noise_multiplier is None) == (self.target_epsilon is None):
            both = "both are" if self.noise_multiplier is not None else "neither is"
            raise ValueError(f"of noise_multiplier and target_epsilon, {both} given: give one, and set the other to null")
        if self.simulated_cohort is not None and self.population is None:
            raise ValueError("simulated_cohort needs the population that it is sampled from: set population also")
        if self.simulated_cohort is not None and self.population is not None and self.simulated_cohort > self.population:
            raise ValueError(
                f"simulated_cohort={self.simulated_cohort:,} exceeds population={self.population:,}: it must be at most that"
            )
        return self

    def plan(self, sampling: Sampling, rounds: int, errors: Errors = EXACT) -> PrivacyPlan:
        from fedlab.privacy import plan

        return plan.make_plan(self, sampling, rounds, errors)

    @property
    def least_clip_norm(self) -> float:
        """The smallest norm to which updates are ever clipped. Without an override, sums with errors get no finite ε."""
        return LEAST_NORM

    def event(self, noise_multiplier: float, sampling: Sampling, rounds: int = 1) -> Any:
        """Returns the `dp_accounting` event of `rounds` rounds."""
        return self.account(noise_multiplier, sampling).event(rounds)

    def most_noise(self, sampling: Sampling) -> float:
        """Returns the bound below which the noise multiplier must be; ∞ without a bound."""
        return float("inf")

    @abc.abstractmethod
    def account(self, noise_multiplier: float, sampling: Sampling) -> Account:
        """Returns the account of rounds with this noise."""

    @abc.abstractmethod
    def aggregator(
        self, noise_multiplier: float, sampling: Sampling, noise_key: np.ndarray
    ) -> tff.aggregators.UnweightedAggregationFactory:
        """Returns an aggregator that clips, sums, adds noise, and divides by the expected cohort, a constant. `noise_key`, int64
        [2]: the key of noise that is not drawn from the engine's keys."""


class GaussianFixed(Mechanism):
    """DP-FedAvg (McMahan et al. 2018): clips updates to `clip_norm` and adds Gaussian noise to their sum."""

    vouches: ClassVar[tuple[Promise, ...]] = ("privacy",)

    clip_norm: Norm = 0.1

    @property
    def least_clip_norm(self) -> float:
        return self.clip_norm

    def account(self, noise_multiplier: float, sampling: Sampling) -> Account:
        from fedlab.privacy import accounts

        return accounts.gaussian(noise_multiplier, sampling)

    def aggregator(
        self, noise_multiplier: float, sampling: Sampling, noise_key: np.ndarray
    ) -> tff.aggregators.UnweightedAggregationFactory:
        from fedlab.privacy import mechanisms

        return mechanisms.gaussian_fixed(noise_multiplier, sampling.expected_cohort, self.clip_norm)


class GaussianAdaptive(Mechanism):
    """Adaptive clipping: the clip norm follows a quantile of the updates' norms (Andrew et al. 2021, algorithm 1), from 1e-12 to
    1e18.

    Each round releases two noisy sums: the updates, and the count of updates within the bound. `noise_multiplier` z covers both
    together; with noise b on the count, whose sensitivity is ½, the updates get (z⁻² − (2b)⁻²)^(−½).
    """

    vouches: ClassVar[tuple[Promise, ...]] = ("privacy",)

    initial_clip_norm: Norm = 0.1
    target_quantile: Annotated[float, Field(ge=0, le=1)] = 0.5
    clip_learning_rate: NonNegativeFloat = 0.2
    clipped_count_stddev: PositiveFloat | None = None  # b; None: 1/20 of the expected cohort

    def account(self, noise_multiplier: float, sampling: Sampling) -> Account:
        from fedlab.privacy import accounts

        if noise_multiplier >= self.most_noise(sampling):
            raise ConfigError(
                f"privacy: the noise multiplier {noise_multiplier:.4g} must be below 2 · clipped_count_stddev = "
                f"{self.most_noise(sampling):.4g} (by default 1/10 of the cohort of {sampling.expected_cohort:g}): lower the "
                "noise, raise privacy.clipped_count_stddev, or sample more clients."
            )
        return accounts.gaussian(noise_multiplier, sampling)

    def aggregator(
        self, noise_multiplier: float, sampling: Sampling, noise_key: np.ndarray
    ) -> tff.aggregators.UnweightedAggregationFactory:
        from fedlab.privacy import mechanisms

        return mechanisms.gaussian_adaptive(
            noise_multiplier,
            sampling.expected_cohort,
            initial_clip_norm=self.initial_clip_norm,
            target_quantile=self.target_quantile,
            clip_learning_rate=self.clip_learning_rate,
            clipped_count_stddev=self._count_stddev(sampling) if noise_multiplier else 0.0,
        )

    def most_noise(self, sampling: Sampling) -> float:
        return 2 * self._count_stddev(sampling)

    def _count_stddev(self, sampling: Sampling) -> float:
        """Returns b for these cohorts. The option is for the ledger's cohort; in a simulation b shrinks with the noise."""
        if self.clipped_count_stddev is None:
            return 0.05 * sampling.expected_cohort
        return self.clipped_count_stddev * (sampling.expected_cohort / self.simulated_cohort if self.simulated_cohort else 1.0)


class Tree(Mechanism):
    """DP-FTRL (Kairouz et al. 2021): fixed clipping, and noise that is correlated over the rounds by a binary tree, so that sums
    over many rounds are less noisy. Requires no random cohorts. Use SGD, with or without momentum, as the server optimizer: it
    sums the updates.
    """

    vouches: ClassVar[tuple[Promise, ...]] = ("privacy",)
    rests_on_cohorts: ClassVar[bool] = False
    noise_state: ClassVar[tuple[str, ...]] = ("tree_state", "previous_tree_noise")

    clip_norm: Norm = 0.1
    restart_every: PositiveInt | None = None  # rounds until a new tree; None: one tree

    @property
    def least_clip_norm(self) -> float:
        return self.clip_norm

    def account(self, noise_multiplier: float, sampling: Sampling) -> Account:
        from fedlab.privacy import accounts

        return accounts.tree(noise_multiplier, sampling, self.restart_every or 0)

    def aggregator(
        self, noise_multiplier: float, sampling: Sampling, noise_key: np.ndarray
    ) -> tff.aggregators.UnweightedAggregationFactory:
        from fedlab.privacy import mechanisms

        return mechanisms.tree(noise_multiplier, sampling.expected_cohort, self.clip_norm, self.restart_every, noise_key)
