"""What a run does for privacy and what that is worth: settled once, before the first round."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

from fedlab import randomness
from fedlab.errors import ConfigError
from fedlab.privacy import Mechanism, Privacy, accounts
from fedlab.privacy.accounting import Ledger, Spending, rounded_up
from fedlab.privacy.calibration import MOST, noise_for
from fedlab.sampling import Sampling

if TYPE_CHECKING:
    import tensorflow_federated as tff


@dataclasses.dataclass(frozen=True)
class Plan:
    """Of `rounds` rounds at most. Under simulated privacy, `ledger` is that of the large federation, and `own_ledger` that of
    the clients there really are; otherwise `own_ledger` is None."""

    spec: Privacy
    sampling: Sampling  # of the run
    accounted: Sampling  # of the federation that the ledger is about
    rounds: int  # as many as asked for, or as stop_at_epsilon allows
    delta: float
    noise_multiplier: float  # z, that the ledger is about
    applied_noise_multiplier: float  # z · m / M, of the run's own sums
    ledger: Ledger
    own_ledger: Ledger | None = None

    def aggregator(self, seed: int) -> tff.aggregators.UnweightedAggregationFactory | None:
        """Replaces the run's aggregator; None: leave that as it is. `seed`: a seed or a secret."""
        if not isinstance(self.spec, Mechanism):
            return None
        return self.spec.aggregator(self.applied_noise_multiplier, self.sampling, randomness.key(seed, "privacy noise"))

    def spent(self, rounds: int) -> Spending:
        """For after each round: an upper bound that is quick to have, exact after the last round."""
        return self.ledger.spent(rounds, until=self.rounds)

    def lines(self) -> list[str]:
        """The promise in words, with all it assumes."""
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
            lines.append(f"δ is not below 1 / {self.accounted.population:,}: it allows for laying one user open")
        if self.own_ledger:
            own = self.own_ledger.spent(self.rounds)
            lines.append(
                f"simulated: that ε is of {self.accounted.population:,} users with cohorts of "
                f"{self.accounted.expected_cohort:,.10g}, which this run only stands for. Real is the privacy of the run's own "
                f"{self.sampling.population:,} clients, whose noise multiplier is {self.applied_noise_multiplier:.6g}: {after}, "
                f"ε = {rounded_up(own.epsilon)} at δ = {own.delta:.3g}"
            )
        return lines


def default_delta(population: int) -> float:
    """1 / N^1.1 (McMahan et al. 2018). Raises `ConfigError` for one user, for whom that is 1."""
    if population < 2:
        raise ConfigError("privacy.delta=null is 1 / population^1.1, which for a single user is 1: give privacy.delta.")
    return population**-1.1


def unprotected(spec: Privacy, sampling: Sampling, rounds: int) -> Plan:
    """The plan of a run without noise."""
    ledger = Ledger(accounts.without_guarantee("no noise is added", sampling=sampling.words), 1e-5)
    return Plan(spec, sampling, sampling, rounds, ledger.delta, 0.0, 0.0, ledger)


def make_plan(spec: Mechanism, sampling: Sampling, rounds: int) -> Plan:
    """Finds the noise where a target is given, and how many rounds `stop_at_epsilon` leaves."""
    accounted = _accounted(spec, sampling)
    delta = spec.delta or default_delta(accounted.population)
    noise = spec.noise_multiplier
    if noise is None:
        assert spec.target_epsilon is not None
        most = spec.most_noise(accounted)
        better = " and so would larger cohorts, which leave room for more noise" if math.isfinite(most) else ""
        noise = noise_for(
            spec.target_epsilon,
            delta,
            rounds,
            lambda z: spec.account(z, accounted),
            name="privacy.target_epsilon",
            most=min(MOST, most * (1 - 1e-9)),
            better=better,
        )
    ledger = Ledger(spec.account(noise, accounted), delta, rounds)
    if spec.stop_at_epsilon is not None:
        affordable = ledger.affordable_rounds(spec.stop_at_epsilon, rounds)
        if affordable == 0:
            raise ConfigError(
                f"privacy.stop_at_epsilon={spec.stop_at_epsilon:g}: the first round alone costs "
                f"{rounded_up(ledger.spent(1).epsilon)}. Raise it, or add noise."
            )
        rounds = affordable
    applied, own = noise, None
    if spec.simulated_cohort is not None:
        applied = noise * sampling.expected_cohort / spec.simulated_cohort
        own_delta = spec.delta or default_delta(sampling.population)
        own = Ledger(spec.account(applied, sampling), own_delta, rounds)
    return Plan(spec, sampling, accounted, rounds, delta, noise, applied, ledger, own)


def _accounted(spec: Mechanism, sampling: Sampling) -> Sampling:
    """The federation that the ledger is about: the run's, or the one that it stands for."""
    if spec.population is None:
        return sampling
    if spec.simulated_cohort is None:
        raise ConfigError(
            f"privacy.population={spec.population:,}, but the run has {sampling.population:,} clients: to let it stand for a "
            "larger federation, set privacy.simulated_cohort to that one's cohort too; else leave privacy.population=null."
        )
    if spec.population < sampling.population or spec.simulated_cohort < sampling.expected_cohort:
        raise ConfigError(
            f"privacy.population={spec.population:,} and simulated_cohort={spec.simulated_cohort:,.10g} must not be smaller than "
            f"what stands for them: {sampling.population:,} clients, {sampling.expected_cohort:,.10g} a round."
        )
    return sampling.scaled(spec.population, spec.simulated_cohort)
