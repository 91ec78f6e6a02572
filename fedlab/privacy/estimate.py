"""The privacy cost of training that is described by numbers alone: ε for a noise level, or the noise for a target ε."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from fedlab.privacy import accounts, examples
from fedlab.privacy.accounting import Ledger, Spending
from fedlab.privacy.accounts import Account
from fedlab.privacy.calibration import noise_for
from fedlab.privacy.plan import default_delta
from fedlab.sampling import Everyone, FixedSize, Poisson, Schedule

AccountOf = Callable[[float], Account]  # noise multiplier → account
_POINTS = 24  # the most points of a curve


@dataclasses.dataclass(frozen=True)
class Estimate:
    """The cost of `rounds` rounds with a noise multiplier."""

    noise_multiplier: float
    ledger: Ledger
    rounds: int

    @property
    def total(self) -> Spending:
        """Returns the cost of all rounds."""
        return self.ledger.spent(self.rounds)

    def table(self) -> list[Spending]:
        """Returns the cost after 1, 2, 5, 10, … rounds, and after the last."""
        steps = (m * 10**k for k in range(len(str(self.rounds))) for m in (1, 2, 5))
        return [self.ledger.spent(r) for r in [*(r for r in steps if r < self.rounds), self.rounds]]

    def curve(self) -> list[Spending]:
        """Returns the cost after at most 24 numbers of rounds with equal distances."""
        steps = min(self.rounds, _POINTS)
        return [self.ledger.spent(-(-self.rounds * (i + 1) // steps)) for i in range(steps)]

    def bounds(self) -> tuple[list[int], list[float], list[float] | None]:
        """Returns numbers of rounds, and the bounds on ε after each by RDP and by PLD; None if PLD has not all of them."""
        spent = self.curve()
        by_pld = [s.epsilon_pld for s in spent if s.epsilon_pld is not None]
        return [s.rounds for s in spent], [s.epsilon_rdp for s in spent], by_pld if len(by_pld) == len(spent) else None

    @property
    def title(self) -> str:
        """Returns a line that says for what the bounds hold."""
        total = self.total
        return f"{total.unit}-level privacy at δ = {total.delta:.4g}, noise multiplier {self.noise_multiplier:.4g}"


def estimate(account_of: AccountOf, size: int, rounds: int, noise: float | None, epsilon: float, delta: float | None) -> Estimate:
    """Returns the cost with the noise multiplier `noise`; None: with the smallest one that spends at most `epsilon`.

    `size`: number of users, or of examples; `delta`: None for 1 / size^1.1. Raises `ConfigError` if no noise is enough.
    """
    delta = delta or default_delta(size)
    if noise is None:
        noise = noise_for(epsilon, delta, rounds, account_of, name="--epsilon")
    return Estimate(noise, Ledger(account_of(noise), delta, rounds), rounds)


def of_examples(size: int, batch: int, epochs: int, sampling: examples.Batches) -> AccountOf:
    """Returns the accounts of DP-SGD on `size` examples. `sampling`: poisson or shuffled."""
    return lambda noise: examples.local_dp_sgd(noise, size, batch, epochs, sampling)


def of_users(population: int, cohort: int, sampling: str) -> AccountOf:
    """Returns the accounts of noise on the sum of a cohort's updates. `sampling`: poisson, fixed or all."""
    if sampling == "all":
        return lambda noise: accounts.gaussian(noise, Everyone(population))
    if sampling == "fixed":
        return lambda noise: accounts.gaussian(noise, FixedSize(population, cohort))
    return lambda noise: accounts.gaussian(noise, Poisson(population, cohort / population))


def of_tree(
    population: int, cohort: int, rounds: int, participations: int | None, separation: int, restart_every: int
) -> AccountOf:
    """Returns the accounts of noise from a tree (DP-FTRL). `participations`: the most rounds of a user; None: all rounds.

    `separation`: the least number of rounds between two of them. `restart_every`: rounds until a new tree; 0: one tree.
    Raises `ConfigError` if no schedule of `rounds` rounds keeps these limits.
    """
    schedule = Schedule(population, cohort, participations, separation)
    schedule.require_possible(rounds)
    return lambda noise: accounts.tree(noise, schedule, restart_every)
