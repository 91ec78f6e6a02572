"""Differential privacy: the mechanism that adds noise and the account of what it earns, both from one spec.

Configurations name these specs; they import neither TensorFlow nor dp_accounting until they are asked for something.
`spec.plan(sampling, rounds)` settles the noise; the plan has the aggregator and the ledger.
"""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import BeforeValidator, Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from fedlab.errors import ConfigError
from fedlab.sampling import Everyone, FixedSize, Poisson, Sampling, Schedule
from fedlab.spec import Promise, Spec

if TYPE_CHECKING:
    import tensorflow_federated as tff

    from fedlab.privacy.accounts import Account
    from fedlab.privacy.plan import Plan

__all__ = [
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

# From 1.8e19 on, the sum of the squares overflows float32, the norm is infinite, and clipping, which divides by it, gives NaN.
# Far below the least, float32 has only zero, and clipping to a norm of zero gives NaN too
LEAST_NORM, LARGEST_NORM = 1e-18, 1e18
Norm = Annotated[float, Field(ge=LEAST_NORM, le=LARGEST_NORM)]  # that updates or gradients are clipped to
Share = Annotated[float, Field(gt=0, lt=1)]


def _not_os(value: Any) -> Any:
    if value == "os":
        raise ValueError("noise_source=os is now noise_source=key, the default: keep noise.key to resume, or `fedlab forget` it")
    return value


# key: a fresh key of the operating system, one per run, in noise.key. seed: the run's seed, which the manifest tells everybody
NoiseSource = Annotated[Literal["key", "seed"], BeforeValidator(_not_os)]


class Privacy(Spec):
    """Options of a mechanism, or of none."""

    adds_noise: ClassVar[bool] = True
    takes_weights: ClassVar[bool] = False  # every client counts alike: one with more examples would have more influence
    rests_on_cohorts: ClassVar[bool] = True  # whether ε may assume that nobody knows who takes part
    # Parts of the process's state that hold noise, or that from which it is drawn. They must follow from the number of rounds
    # alone: no checkpoint holds them, and a run that goes on draws them again
    noise_state: ClassVar[tuple[str, ...]] = ()

    @abc.abstractmethod
    def plan(self, sampling: Sampling, rounds: int) -> Plan:
        """The noise, δ and the ledger of a run of `rounds` rounds with such cohorts. Raises `ConfigError`."""


class NoPrivacy(Privacy):
    """No noise, no guarantee: the run's own aggregator is used as it is."""

    adds_noise: ClassVar[bool] = False
    takes_weights: ClassVar[bool] = True

    def plan(self, sampling: Sampling, rounds: int) -> Plan:
        from fedlab.privacy import plan

        return plan.unprotected(self, sampling, rounds)


class Mechanism(Privacy):
    """What all mechanisms have in common. Exactly one of `noise_multiplier` and `target_epsilon` is given.

    Simulated privacy: with `simulated_cohort` M, the run's cohort of m stands for M users out of `population`. The ledger is
    that of the large federation; the run's own sums get m / M of its noise, so that an average is as noisy as the large one's
    would be (McMahan et al. 2018; Augenstein et al. 2020). The run's own clients are not so protected,
    and the plan says what their ε is.
    """

    noise_multiplier: NonNegativeFloat | None = None  # z: standard deviation of the noise on the sum / clip norm
    target_epsilon: PositiveFloat | None = None  # find the z that spends this by the last round
    delta: Share | None = None  # None: 1 / population^1.1
    stop_at_epsilon: PositiveFloat | None = None  # end the run before it would cost more
    noise_source: NoiseSource = "key"  # of the noise, and of the cohorts
    population: PositiveInt | None = None  # None: the run's clients
    simulated_cohort: PositiveInt | None = None  # M; None: the run's cohort is the real one

    @model_validator(mode="after")
    def _one_noise(self) -> Mechanism:
        if (self.noise_multiplier is None) == (self.target_epsilon is None):
            both = "both are" if self.noise_multiplier is not None else "neither is"
            raise ValueError(f"{both} given, of noise_multiplier and target_epsilon: give one, and set the other to null")
        if self.simulated_cohort is not None and self.population is None:
            raise ValueError("simulated_cohort needs the population that it is drawn from: set population too")
        if self.simulated_cohort is not None and self.population is not None and self.simulated_cohort > self.population:
            raise ValueError(f"simulated_cohort={self.simulated_cohort:,} exceeds population={self.population:,}")
        return self

    def plan(self, sampling: Sampling, rounds: int) -> Plan:
        from fedlab.privacy import plan

        return plan.make_plan(self, sampling, rounds)

    def event(self, noise_multiplier: float, sampling: Sampling, rounds: int = 1) -> Any:
        """The `dp_accounting` event of `rounds` rounds."""
        return self.account(noise_multiplier, sampling).event(rounds)

    def most_noise(self, sampling: Sampling) -> float:
        """The noise multiplier that cannot be reached, ∞ where there is none."""
        return float("inf")

    @abc.abstractmethod
    def account(self, noise_multiplier: float, sampling: Sampling) -> Account:
        """What rounds with this noise release."""

    @abc.abstractmethod
    def aggregator(
        self, noise_multiplier: float, sampling: Sampling, noise_key: np.ndarray
    ) -> tff.aggregators.UnweightedAggregationFactory:
        """Clips, sums, adds noise, divides by the expected cohort, a constant. `noise_key`: of what is not drawn from the
        engine's keys, int64 [2]."""


class GaussianFixed(Mechanism):
    """DP-FedAvg (McMahan et al. 2018): updates clipped to `clip_norm`, Gaussian noise on their sum."""

    vouches: ClassVar[tuple[Promise, ...]] = ("privacy",)

    clip_norm: Norm = 0.1

    def account(self, noise_multiplier: float, sampling: Sampling) -> Account:
        from fedlab.privacy import accounts

        return accounts.gaussian(noise_multiplier, sampling)

    def aggregator(
        self, noise_multiplier: float, sampling: Sampling, noise_key: np.ndarray
    ) -> tff.aggregators.UnweightedAggregationFactory:
        from fedlab.privacy import mechanisms

        return mechanisms.gaussian_fixed(noise_multiplier, sampling.expected_cohort, self.clip_norm)


class GaussianAdaptive(Mechanism):
    """The clip norm follows a quantile of the updates' norms (Andrew et al. 2021, algorithm 1), within 1e-18 and 1e18.

    Each round releases two noisy sums: of the updates, and of the count of those within the bound. `noise_multiplier` z is
    that of both together; with b the noise on the count, whose sensitivity is ½, the updates get (z⁻² − (2b)⁻²)^(−½).
    """

    vouches: ClassVar[tuple[Promise, ...]] = ("privacy",)

    initial_clip_norm: Norm = 0.1
    target_quantile: Annotated[float, Field(ge=0, le=1)] = 0.5
    clip_learning_rate: NonNegativeFloat = 0.2
    clipped_count_stddev: PositiveFloat | None = None  # b; None: a twentieth of the expected cohort

    def account(self, noise_multiplier: float, sampling: Sampling) -> Account:
        from fedlab.privacy import accounts

        if noise_multiplier >= self.most_noise(sampling):
            raise ConfigError(
                f"privacy: a noise multiplier of {noise_multiplier:.4g} must be below 2 · clipped_count_stddev = "
                f"{self.most_noise(sampling):.4g} (by default a tenth of the cohort of {sampling.expected_cohort:g}): lower the "
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
        """b for these cohorts; given for the cohort that the ledger is about, it shrinks with the noise in a simulation."""
        if self.clipped_count_stddev is None:
            return 0.05 * sampling.expected_cohort
        return self.clipped_count_stddev * (sampling.expected_cohort / self.simulated_cohort if self.simulated_cohort else 1.0)


class Tree(Mechanism):
    """DP-FTRL (Kairouz et al. 2021): fixed clipping, and noise that a binary tree over the rounds correlates, so that sums over
    many rounds are less noisy. Needs no random cohorts. Use a server optimizer that sums updates up: SGD, with momentum or not.
    """

    vouches: ClassVar[tuple[Promise, ...]] = ("privacy",)
    rests_on_cohorts: ClassVar[bool] = False
    noise_state: ClassVar[tuple[str, ...]] = ("tree_state", "previous_tree_noise")

    clip_norm: Norm = 0.1
    restart_every: PositiveInt | None = None  # rounds until a new tree; None: one tree

    def account(self, noise_multiplier: float, sampling: Sampling) -> Account:
        from fedlab.privacy import accounts

        return accounts.tree(noise_multiplier, sampling, self.restart_every or 0)

    def aggregator(
        self, noise_multiplier: float, sampling: Sampling, noise_key: np.ndarray
    ) -> tff.aggregators.UnweightedAggregationFactory:
        from fedlab.privacy import mechanisms

        return mechanisms.tree(noise_multiplier, sampling.expected_cohort, self.clip_norm, self.restart_every, noise_key)
