"""The privacy plan of a run: its noise, rounds and ledger, determined once, before the first round."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

from fedlab import randomness
from fedlab.errors import ConfigError
from fedlab.privacy import EXACT, Errors, Mechanism, Privacy, accounts
from fedlab.privacy.accounting import Ledger, Spending, rounded_up
from fedlab.privacy.calibration import MOST, noise_for
from fedlab.sampling import Sampling, unamplified

if TYPE_CHECKING:
    import tensorflow_federated as tff

    from fedlab.privacy.accounts import Account


@dataclasses.dataclass(frozen=True)
class PrivacyPlan:
    """A plan for at most `rounds` rounds. Under simulated privacy, `ledger` is that of the large federation and `own_ledger` that
    of the run's own clients; otherwise `own_ledger` is None."""

    spec: Privacy
    sampling: Sampling  # of the run
    accounted: Sampling  # of the federation of the ledger
    rounds: int  # the requested number, or fewer if stop_at_epsilon ends the run earlier
    delta: float
    noise_multiplier: float  # z, of the ledger
    applied_noise_multiplier: float  # z · m / M, of the run's own sums
    ledger: Ledger
    own_ledger: Ledger | None = None

    def aggregator(self, seed: int) -> tff.aggregators.UnweightedAggregationFactory | None:
        """Returns the aggregator that replaces the run's own; None keeps the run's own. `seed`: a seed or a secret."""
        if not isinstance(self.spec, Mechanism):
            return None
        return self.spec.aggregator(self.applied_noise_multiplier, self.sampling, randomness.key(seed, "privacy noise"))

    def spent(self, rounds: int) -> Spending:
        """Returns the cost after `rounds` rounds: a quick upper bound, exact after the last round."""
        return self.ledger.spent(rounds, until=self.rounds)

    def lines(self) -> list[str]:
        """Returns the guarantee in words, with its assumptions."""
        total = self.ledger.spent(self.rounds)
        after = f"after {self.rounds:,} round{'s' * (self.rounds != 1)}"
        if not isinstance(self.spec, Mechanism):
            return [f"privacy: none ({total.reason})"]
        lines = [
            f"{total.unit}-level privacy {after}: ε = {rounded_up(total.epsilon)} at δ = {total.delta:.3g} "
            f"(RDP {rounded_up(total.epsilon_rdp)}, PLD {rounded_up(total.epsilon_pld)})"
            + (f": {total.reason}" if total.reason else ""),
            f"noise multiplier {self.noise_multiplier:.6g}; neighbours: {total.neighbours}; sampling: {total.sampling}",
            *total.notes,
        ]
        if self.delta * self.accounted.population >= 1:
            lines.append(
                f"δ is not below 1 / {self.accounted.population:,}: such a δ allows exposing one user completely: lower δ"
            )
        if self.own_ledger:
            own = self.own_ledger.spent(self.rounds)
            lines.append(
                f"simulated: that ε is for {self.accounted.population:,} users with cohorts of "
                f"{self.accounted.expected_cohort:,.10g}, which this run only simulates. The run's own "
                f"{self.sampling.population:,} clients have a noise multiplier of {self.applied_noise_multiplier:.6g}: {after}, "
                f"ε = {rounded_up(own.epsilon)} at δ = {own.delta:.3g}"
            )
        return lines


def default_delta(population: int) -> float:
    """Returns 1 / N^1.1 (McMahan et al. 2018). Raises `ConfigError` for one user, for which it is 1."""
    if population < 2:
        raise ConfigError("privacy.delta=null is 1 / population^1.1, which is 1 for a single user: set privacy.delta below 1.")
    return population**-1.1


def unprotected(spec: Privacy, sampling: Sampling, rounds: int) -> PrivacyPlan:
    """Returns the plan of a run without noise."""
    ledger = Ledger(accounts.without_guarantee("no noise is added", sampling=sampling.words), 1e-5)
    return PrivacyPlan(spec, sampling, sampling, rounds, ledger.delta, 0.0, 0.0, ledger)


def make_plan(spec: Mechanism, sampling: Sampling, rounds: int, errors: Errors = EXACT) -> PrivacyPlan:
    """Returns the plan: computes the noise for a target ε, and the number of rounds that `stop_at_epsilon` allows."""
    accounted = _accounted(spec, sampling)
    delta = spec.delta or default_delta(accounted.population)
    accounted = _within(delta, accounted, rounds)
    noise = spec.noise_multiplier
    if noise is None:
        assert spec.target_epsilon is not None
        most = spec.most_noise(accounted)
        better = ", and so would larger cohorts, which allow more noise" if math.isfinite(most) else ""
        noise = noise_for(
            spec.target_epsilon,
            delta,
            rounds,
            lambda z: _account(spec, z, accounted, errors),
            name="privacy.target_epsilon",
            most=min(MOST, most * (1 - 1e-9)),
            better=better,
        )
    ledger = Ledger(_account(spec, noise, accounted, errors), delta, rounds)
    if spec.stop_at_epsilon is not None:
        affordable = ledger.affordable_rounds(spec.stop_at_epsilon, rounds)
        if affordable == 0:
            raise ConfigError(
                f"privacy.stop_at_epsilon={spec.stop_at_epsilon:g}: the first round alone costs ε = "
                f"{rounded_up(ledger.spent(1).epsilon)}. Raise it, or add noise."
            )
        rounds = affordable
    applied, own = noise, None
    if spec.simulated_cohort is not None:
        applied = noise * sampling.expected_cohort / spec.simulated_cohort
        own_delta = spec.delta or default_delta(sampling.population)
        own = Ledger(_account(spec, applied, _within(own_delta, sampling, rounds), errors), own_delta, rounds)
    return PrivacyPlan(spec, sampling, accounted, rounds, delta, noise, applied, ledger, own)


def _account(spec: Mechanism, noise_multiplier: float, sampling: Sampling, errors: Errors) -> Account:
    """Returns the account of sums with errors, by which sums of neighbours differ by twice the errors' norm more. Raises
    `ConfigError` if the errors are not well below the clip norm."""
    if not errors.norm:
        return spec.account(noise_multiplier, sampling)
    errors.check(spec.least_clip_norm)
    clip_norm = spec.least_clip_norm
    counted = noise_multiplier * clip_norm / (clip_norm + errors.apart)
    account = spec.account(counted, sampling)
    note = (
        f"{errors.source}: with a clip norm of {clip_norm:g}, a noise multiplier of {noise_multiplier:.6g} counts as "
        f"{counted:.6g}, and a probability of {2 * errors.chance:.3g} a round is subtracted from δ"
    )
    return dataclasses.replace(account, notes=(*account.notes, note), exposed=account.exposed + 2 * errors.chance)


def _accounted(spec: Mechanism, sampling: Sampling) -> Sampling:
    """Returns the sampling of the ledger's federation: the run's own, or the one that it simulates."""
    if spec.population is None:
        return sampling
    if spec.simulated_cohort is None:
        raise ConfigError(
            f"privacy.population={spec.population:,}, but the run has {sampling.population:,} clients: to simulate a larger "
            "federation, set privacy.simulated_cohort to its cohort also; otherwise set privacy.population=null."
        )
    if spec.population < sampling.population or spec.simulated_cohort < sampling.expected_cohort:
        raise ConfigError(
            f"privacy.population={spec.population:,} and simulated_cohort={spec.simulated_cohort:,.10g} must not be smaller than "
            f"the run's own: {sampling.population:,} clients, {sampling.expected_cohort:,.10g} a round. Raise them."
        )
    return sampling.scaled(spec.population, spec.simulated_cohort)


def _within(delta: float, sampling: Sampling, rounds: int) -> Sampling:
    """Returns `sampling`, or one without amplification if the probability that its theorem fails exceeds half of δ."""
    if 2 * rounds * sampling.exposed <= delta:
        return sampling
    because = (
        f"with probability {sampling.exposed:.3g} a round, sampling one user decides if there is a sum, because fewer "
        f"than {sampling.least_clients} clients are never summed"
    )
    return unamplified(sampling, because)
