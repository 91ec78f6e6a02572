"""Accounts: the releases of a mechanism as `dp_accounting` events, with their assumptions. Without a theorem here, ε = ∞.

A Gaussian event's noise multiplier is the noise over the *sensitivity*. Replacing a user by one that contributes nothing changes
a sum of clipped updates by one clip norm; replacing a user by any other changes it by two, so the same noise then counts as half
the multiplier. No account here is about adding or removing a user or example: the numbers of steps, the rates and the divisors
follow from the number of users or examples, which is assumed public.
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
    """The events of rounds, and the assumptions of their account."""

    event: Callable[[int], dpa.DpEvent]  # number of rounds, at least 1 → the event of all their releases
    relation: Relation
    unit: str  # "user" or "example"
    sampling: str  # in words
    reason: str = ""  # the reason if ε is ∞
    notes: tuple[str, ...] = ()
    exposed: float = 0.0  # probability that `event` does not describe a round, for any data; it is subtracted from δ

    @property
    def relation_words(self) -> str:
        return RELATION_WORDS[self.relation].format(self.unit)


def without_guarantee(reason: str, unit: str = "user", sampling: str = "any") -> Account:
    """Returns an account with ε = ∞ and its reason."""
    return Account(lambda rounds: dpa.NonPrivateDpEvent(), Relation.REPLACE_SPECIAL, unit, sampling, reason)


def weight_noise(stddev: float) -> Account:
    """Returns the account of noise that is added to unclipped trained weights."""
    return without_guarantee(
        f"noise of standard deviation {stddev:g} is added to weights that are not clipped: one user can change them by any "
        "amount, which no noise hides (use privacy=gaussian_fixed)"
    )


def gaussian(noise_multiplier: float, sampling: Sampling) -> Account:
    """Returns the account of a sum of clipped updates with Gaussian noise of `noise_multiplier` × clip norm each round, divided
    by a constant."""
    if not noise_multiplier > 0 or not math.isfinite(noise_multiplier):
        return without_guarantee(_no_noise(noise_multiplier), sampling=sampling.words)
    one = dpa.GaussianDpEvent(noise_multiplier)
    if type(sampling) is Poisson:  # Mironov et al. 2019, the sampled Gaussian, by dp_accounting
        sampled = dpa.PoissonSampledDpEvent(sampling.rate, one)
        return _per_round(sampled, Relation.REPLACE_SPECIAL, sampling)
    if type(sampling) is FixedSize:  # Wang et al. 2019, theorem 27; by PLD, `fedlab.privacy.without_replacement`
        half = dpa.GaussianDpEvent(noise_multiplier / 2)
        sampled = dpa.SampledWithoutReplacementDpEvent(sampling.population, sampling.cohort, half)
        note = "replacing a user by any other changes a sum by two clip norms; cohort=poisson has a smaller ε"
        account = _per_round(sampled, Relation.REPLACE_ONE, sampling)
        return dataclasses.replace(account, notes=(note, *account.notes))
    if type(sampling) is Everyone:
        return _per_round(one, Relation.REPLACE_SPECIAL, sampling)
    if type(sampling) is Schedule:
        return Account(
            lambda rounds: dpa.SelfComposedDpEvent(one, sampling.participations(rounds)),
            Relation.REPLACE_SPECIAL,
            "user",
            sampling.words,
        )
    return without_guarantee(f"there is no theorem here for sampling by {type(sampling).__name__}")


def tree(noise_multiplier: float, sampling: Sampling, restart_every: int = 0) -> Account:
    """Returns the account of noise from a binary tree over the rounds (Kairouz et al. 2021).

    `restart_every`: rounds after which a new tree starts (0: never). The noisy nodes of all trees are one Gaussian mechanism,
    whose squared sensitivity is bounded by `tree_sensitivity`. Random cohorts give no amplification here: unless a schedule
    limits it, a user counts as taking part in every round.
    """
    if not noise_multiplier > 0 or not math.isfinite(noise_multiplier):
        return without_guarantee(_no_noise(noise_multiplier), sampling=sampling.words)
    limited = sampling if type(sampling) is Schedule else Schedule(sampling.population, sampling.expected_cohort)

    def event(rounds: int) -> dpa.DpEvent:
        squared = tree_sensitivity(rounds, restart_every, limited.participations(rounds), limited.apart)
        return dpa.GaussianDpEvent(noise_multiplier / math.sqrt(squared))

    return Account(event, Relation.REPLACE_SPECIAL, "user", limited.words)


def tree_sensitivity(rounds: int, restart_every: int, most: int, apart: int) -> int:
    """Returns a bound on one user's part of the sum, over all tree nodes, of (clip norms contributed to the node)².

    Per level: a node of m leaves contains at most ⌈m / (apart + 1)⌉ of the user's `most` leaves, and the sum of squares is
    largest if as few nodes as possible contain them. Exact for a single participation and for participation in every round;
    otherwise an upper bound, because one arrangement may not be the worst at all levels (Kairouz et al. 2021, appendix D,
    searches for the worst).
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
    exposed, notes = sampling.exposed, tuple[str, ...]()
    if exposed:
        notes = (
            f"with probability {exposed:.3g} a round, sampling one user decides if there is a sum, because fewer than "
            f"{sampling.least_clients} clients are never summed: this probability is subtracted from δ",
        )
    return Account(lambda rounds: dpa.SelfComposedDpEvent(event, rounds), relation, "user", sampling.words, "", notes, exposed)


def _no_noise(noise_multiplier: float) -> str:
    return f"the noise multiplier is {noise_multiplier:g}: without noise there is no guarantee"
