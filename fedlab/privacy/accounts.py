"""What a mechanism releases, put as `dp_accounting` events, and under which assumptions. Whatever has no theorem here is ε = ∞.

A Gaussian event's noise multiplier is the noise over the *sensitivity*. Replacing a user by one that contributes nothing changes
a sum of clipped updates by one clip norm; replacing a user by any other changes it by two, so the same noise then counts as half
the multiplier. No account here is about adding or removing: the number of steps, the rates and the divisors all follow from how
many users or examples there are, which is taken to be public.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import dp_accounting as dpa
from dp_accounting import NeighboringRelation as Relation

from fedlab.sampling import Everyone, FixedSize, Poisson, Sampling, Schedule

RELATION_WORDS = {
    Relation.REPLACE_ONE: "replace one {0} by any other; the number of {0}s is public",
    Relation.REPLACE_SPECIAL: "replace one {0} by one that contributes nothing; the number of {0}s is public",
}


@dataclasses.dataclass(frozen=True)
class Account:
    """What is accounted for, and what that takes for granted."""

    event: Callable[[int], dpa.DpEvent]  # number of rounds, at least 1 → all that they released
    relation: Relation
    unit: str  # "user" or "example"
    sampling: str  # in words
    reason: str = ""  # why ε is ∞, where it is
    notes: tuple[str, ...] = ()

    @property
    def relation_words(self) -> str:
        return RELATION_WORDS[self.relation].format(self.unit)


def without_guarantee(reason: str, unit: str = "user", sampling: str = "any") -> Account:
    """ε = ∞, and why."""
    return Account(lambda rounds: dpa.NonPrivateDpEvent(), Relation.REPLACE_SPECIAL, unit, sampling, reason)


def weight_noise(stddev: float) -> Account:
    """Noise added to trained weights that nobody clipped."""
    return without_guarantee(
        f"noise of standard deviation {stddev:g} is added to weights that are not clipped: one user can move them by any amount, "
        "which no noise hides (use privacy=gaussian_fixed)"
    )


def gaussian(noise_multiplier: float, sampling: Sampling) -> Account:
    """A sum of clipped updates with Gaussian noise of `noise_multiplier` × clip norm each round, divided by a constant."""
    if not noise_multiplier > 0 or not math.isfinite(noise_multiplier):
        return without_guarantee(_no_noise(noise_multiplier), sampling=sampling.words)
    one = dpa.GaussianDpEvent(noise_multiplier)
    if type(sampling) is Poisson:  # Mironov et al. 2019; dp_accounting's, for the sampled Gaussian
        sampled = dpa.PoissonSampledDpEvent(sampling.rate, one)
        return _per_round(sampled, Relation.REPLACE_SPECIAL, sampling)
    if type(sampling) is FixedSize:  # Wang et al. 2019, theorem 27; by PLD, `fedlab.privacy.without_replacement`
        half = dpa.GaussianDpEvent(noise_multiplier / 2)
        sampled = dpa.SampledWithoutReplacementDpEvent(sampling.population, sampling.cohort, half)
        note = "replacing a user by any other changes a sum by two clip norms; cohort=poisson costs less"
        return dataclasses.replace(_per_round(sampled, Relation.REPLACE_ONE, sampling), notes=(note,))
    if type(sampling) is Everyone:
        return _per_round(one, Relation.REPLACE_SPECIAL, sampling)
    if type(sampling) is Schedule:
        return Account(
            lambda rounds: dpa.SelfComposedDpEvent(one, sampling.participations(rounds)),
            Relation.REPLACE_SPECIAL,
            "user",
            sampling.words,
        )
    return without_guarantee(f"nothing is known here of sampling by {type(sampling).__name__}")


def tree(noise_multiplier: float, sampling: Sampling, restart_every: int = 0) -> Account:
    """Noise from a binary tree over the rounds (Kairouz et al. 2021), anew every `restart_every` rounds (0: never).

    The noisy nodes of all trees are one Gaussian mechanism, whose squared sensitivity is bounded by `tree_sensitivity`. Drawing
    the cohort at random amplifies nothing here: unless a schedule limits it, a user counts as if taking part in every round.
    """
    if not noise_multiplier > 0 or not math.isfinite(noise_multiplier):
        return without_guarantee(_no_noise(noise_multiplier), sampling=sampling.words)
    limited = sampling if type(sampling) is Schedule else Schedule(sampling.population, sampling.expected_cohort)

    def event(rounds: int) -> dpa.DpEvent:
        squared = tree_sensitivity(rounds, restart_every, limited.participations(rounds), limited.apart)
        return dpa.GaussianDpEvent(noise_multiplier / math.sqrt(squared))

    return Account(event, Relation.REPLACE_SPECIAL, "user", limited.words)


def tree_sensitivity(rounds: int, restart_every: int, most: int, apart: int) -> int:
    """Most that one user can add to the sum, over all tree nodes, of (clip norms contributed to the node)².

    Level by level: nodes of m leaves hold at most ⌈m / (apart + 1)⌉ of the user's `most` leaves each, and the sum of squares
    is largest where as few nodes as possible hold them. Exact for one participation and for one in every round; in between
    an upper bound, since no arrangement need be the worst at all levels (Kairouz et al. 2021, appendix D, searches for it).
    """
    leaves = [rounds] if not restart_every else [restart_every] * (rounds // restart_every) + [rounds % restart_every]
    total, size = 0, 1
    while size <= max(leaves):
        nodes = sum(n // size for n in leaves)
        full = min(-(-size // (apart + 1)), most)
        placed = min(most, nodes * full)
        total += placed // full * full**2 + (placed % full) ** 2
        size *= 2
    return total


def _per_round(event: dpa.DpEvent, relation: Relation, sampling: Sampling) -> Account:
    return Account(lambda rounds: dpa.SelfComposedDpEvent(event, rounds), relation, "user", sampling.words)


def _no_noise(noise_multiplier: float) -> str:
    return f"the noise multiplier is {noise_multiplier:g}: without noise there is no guarantee"
