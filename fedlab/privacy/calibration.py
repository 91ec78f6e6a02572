"""Computes the noise for a target ε: `dp_accounting` searches, and the ledger computes the ε of each trial."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import dp_accounting as dpa

from fedlab.errors import ConfigError
from fedlab.privacy.accounting import Ledger, rounded_up
from fedlab.privacy.accounts import Account

LEAST, MOST = 0.1, 1000.0  # noise multipliers searched
PRECISION = 1e-4  # relative precision of the result


def noise_for(
    target_epsilon: float,
    delta: float,
    rounds: int,
    account: Callable[[float], Account],
    name: str = "target_epsilon",
    most: float = MOST,
    better: str = "",
) -> float:
    """Returns the least noise multiplier, to four digits, for which `rounds` rounds cost at most `target_epsilon`.

    `account`: noise multiplier → account. `name`: the target's name in errors. `most`: the largest multiplier that the mechanism
    can apply. `better`: a further remedy for an error, in words. Raises `ConfigError` if no multiplier meets the target.
    """
    reason = account(min(LEAST, most)).reason
    if reason:
        raise ConfigError(f"{name}={target_epsilon:g} cannot be met: {reason}.")
    rough = {m: _epsilon(account(m), delta, rounds, pld=False) for m in (LEAST, most)}
    if rough[most] > target_epsilon and _epsilon(account(most), delta, rounds, pld=True) > target_epsilon:
        raise ConfigError(
            f"{name}={target_epsilon:g} is out of reach: {rounds:,} rounds still cost ε = {rounded_up(rough[most])} with the "
            f"largest noise multiplier, {most:g}. A larger population, fewer rounds or a larger delta (now {delta:.3g}) would "
            f"help{better}."
        )
    if rough[LEAST] <= target_epsilon:
        raise ConfigError(
            f"{name}={target_epsilon:g} needs almost no noise: the smallest multiplier searched, {LEAST:g}, costs ε = "
            f"{rounded_up(rough[LEAST])} in {rounds:,} rounds. Choose a smaller target, or give noise_multiplier."
        )
    high = most
    if rough[most] <= target_epsilon:
        low, high = LEAST, min(4 * LEAST, most)
        while _epsilon(account(high), delta, rounds, pld=False) > target_epsilon:
            low, high = high, min(4 * high, most)
        high = _search(target_epsilon, delta, rounds, account, low, high, pld=False)
    low = high
    while low > LEAST and _epsilon(account(low), delta, rounds, pld=True) <= target_epsilon:
        high, low = low, max(0.8 * low, LEAST)  # PLDs usually need a few per cent less noise
    if low < high and _epsilon(account(low), delta, rounds, pld=True) > target_epsilon:
        high = _search(target_epsilon, delta, rounds, account, low, high, pld=True)
    digits = 5 - math.floor(math.log10(high))
    high = math.ceil(high * 10**digits) / 10**digits  # six significant digits, so that the printed value is exact
    while _epsilon(account(high), delta, rounds, pld=True) > target_epsilon:
        high *= 1 + PRECISION
    return min(high, most)


def _epsilon(account: Account, delta: float, rounds: int, pld: bool) -> float:
    ledger = Ledger(account, delta, rounds)
    return ledger.spent(rounds).epsilon if pld else ledger.by_rdp(rounds)


def _search(
    target_epsilon: float, delta: float, rounds: int, account: Callable[[float], Account], low: float, high: float, pld: bool
) -> float:
    """Returns the multiplier in [low, high] that meets the target; `low` must not meet it, `high` must."""
    return dpa.calibrate_dp_mechanism(
        lambda: _LedgerAccountant(lambda event: _epsilon(account(event.noise_multiplier), delta, rounds, pld)),
        dpa.GaussianDpEvent,
        target_epsilon,
        delta,
        dpa.ExplicitBracketInterval(low, high),
        tol=PRECISION * low / 4,
    )


class _LedgerAccountant(dpa.PrivacyAccountant):
    """The ledger as the accountant that dp_accounting's search needs. The event only carries the multiplier of a trial."""

    def __init__(self, epsilon: Callable[[Any], float]):
        super().__init__(dpa.NeighboringRelation.ADD_OR_REMOVE_ONE)
        self._epsilon, self._event = epsilon, None

    def _maybe_compose(self, event: Any, count: int, do_compose: bool) -> None:
        if do_compose:
            self._event = event

    def get_epsilon(self, target_delta: float) -> float:
        return min(self._epsilon(self._event), math.sqrt(MOST) * 1e6)  # the search needs finite numbers
