"""The ledger: ε at a given δ after any number of rounds, by Rényi divergences (RDP) and by privacy loss distributions (PLD).

Both are upper bounds, so the smaller one is also an upper bound. An event that neither accountant knows has ε = ∞.
"""

from __future__ import annotations

import dataclasses
import decimal
import functools
import math
from collections.abc import Sequence
from typing import Any

import dp_accounting as dpa
import numpy as np
from dp_accounting.pld import privacy_loss_distribution as pld

from fedlab.errors import ConfigError
from fedlab.privacy.accounts import Account, Relation
from fedlab.privacy.without_replacement import replaced

# dp_accounting's default orders except those up to 1.1, which never give the smallest ε and lose precision
ORDERS = tuple([1 + x / 10 for x in range(2, 100)] + list(range(11, 64)) + [128, 256, 512, 1024])
RENYI_CONVERSION = "RDP to (ε, δ) by Canonne, Kamath and Steinke 2020, proposition 12"
PLD_CONVERSION = "PLD discretised upwards (Doroshenko et al. 2022)"
# Orders for sampling without replacement: its theorem needs whole orders, and the time is quadratic in the order
_WHOLE = np.array([order == int(order) and (order <= 32 or order in (40, 50, 63, 128, 512, 1024)) for order in ORDERS])
# Orders for a quick bound: with sampling, whole orders take a tenth of the time of others
_FEW = tuple(order for order in ORDERS if order == int(order) or order in (1.2, 1.5))
ROUNDING = 1e-13  # float64 error of the logarithm of a sum near 1; smaller Rényi divergences are raised to it
MOST_EPSILON = 1e4  # above it, where nothing is protected, PLDs are not computed: their grids would overflow


@dataclasses.dataclass(frozen=True)
class Spending:
    """The privacy cost of some rounds. `epsilon` is the smaller of the two bounds; `reason` explains ε = ∞."""

    rounds: int
    epsilon: float
    epsilon_rdp: float
    epsilon_pld: float | None  # None: PLDs of this event are not available
    delta: float
    unit: str
    neighbours: str
    sampling: str
    conversion: str
    reason: str
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Returns the fields for JSON, with infinity as "inf"."""
        plain = dataclasses.asdict(self)
        return {k: "inf" if isinstance(v, float) and math.isinf(v) else v for k, v in plain.items()}


def rounded_up(epsilon: float | None, digits: int = 4) -> str:
    """Returns ε as text, rounded up to `digits` significant digits."""
    if epsilon is None:
        return "none"
    if math.isinf(epsilon):
        return "∞"
    if epsilon == 0:
        return "0"
    step = decimal.Decimal(1).scaleb(math.floor(math.log10(epsilon)) + 1 - digits)
    return f"{decimal.Decimal(epsilon).quantize(step, decimal.ROUND_CEILING):,f}"


class Ledger:
    """Computes the privacy cost of any number of rounds. It keeps only caches, so a resumed run needs no earlier state."""

    def __init__(self, account: Account, delta: float, rounds: int = 1):
        """`delta` in (0, 1). `rounds`: the planned number, which determines the discretisation of PLDs."""
        if not 0 < delta < 1:
            raise ConfigError(f"delta={delta:g}: it must be above 0 and below 1, and should be well below 1 / population.")
        self.account, self.delta, self._horizon = account, delta, max(rounds, 1)
        self._pld: dict[tuple[dpa.DpEvent, int], float | None] = {}

    def spent(self, rounds: int, until: int | None = None) -> Spending:
        """Returns the cost of `rounds` rounds. With `until`, the PLD bound may be that of up to 1/16 more rounds, at most
        `until`: an upper bound that is cheap to compute after every round."""
        if rounds < 0:
            raise ConfigError(f"rounds={rounds}: it must be at least 0.")
        account, reason = self.account, self.account.reason
        by_rdp, by_pld = (0.0, 0.0) if rounds == 0 and not reason else (math.inf, None)
        if rounds and not reason and self._left(rounds) <= 0:
            reason = f"the assumption fails with probability {account.exposed:.3g} a round, which uses up δ"
        if rounds and not reason:
            try:
                by_rdp = self.by_rdp(rounds)
                by_pld = self._by_pld(rounds if until is None else ahead(rounds, until))
            except dpa.UnsupportedEventError as error:
                reason = f"no accountant knows this event: {' '.join(str(error).split())}"
        epsilon = by_rdp if by_pld is None else min(by_rdp, by_pld)
        if math.isinf(epsilon) and not reason:
            reason = f"δ = {self.delta:g} is not reached at any ε that can be computed"
        return Spending(
            rounds=rounds,
            epsilon=epsilon,
            epsilon_rdp=by_rdp,
            epsilon_pld=by_pld,
            delta=self.delta,
            unit=account.unit,
            neighbours=account.relation_words,
            sampling=account.sampling,
            conversion=RENYI_CONVERSION if by_pld is None else f"{RENYI_CONVERSION}; {PLD_CONVERSION}",
            reason=reason,
            notes=account.notes,
        )

    def affordable_rounds(self, epsilon: float, limit: int) -> int:
        """Returns the largest number of rounds, up to `limit`, that cost at most `epsilon`."""
        low, high = 0, limit + 1  # `low` is affordable, `high` is not or exceeds the limit
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.spent(middle).epsilon <= epsilon else (low, middle)
        return low

    def by_rdp(self, rounds: int) -> float:
        """Returns ε by RDP only. Raises `UnsupportedEventError`."""
        left = self._left(rounds)
        return _epsilon(*_split(self.account.event(rounds)), self.account.relation, left) if left > 0 else math.inf

    def _by_pld(self, rounds: int) -> float | None:
        event, count = _split(self.account.event(rounds))
        if (event, count) not in self._pld:
            last = max(self._horizon, rounds)
            planned = _split(self.account.event(last))[1]
            self._pld[event, count] = _pld_epsilon(event, count, self._left(rounds), self.by_rdp(last), planned)
        return self._pld[event, count]

    def _left(self, rounds: int) -> float:
        """Returns δ minus the probability that any round violates the account's assumption, which is independent of the data."""
        return self.delta - rounds * self.account.exposed


def ahead(rounds: int, until: int) -> int:
    """Rounds `rounds` up to a grid with 16 numbers per doubling, at most to `until`."""
    step = 2 ** max(rounds.bit_length() - 5, 0)
    return min(-(-rounds // step) * step, max(until, rounds))


def rdp_bounds(ledgers: Sequence[Ledger], rounds: np.ndarray) -> np.ndarray:
    """Returns float64 [ledgers]: a quick upper bound of ε by RDP of each ledger after its number of rounds; ∞ without a
    guarantee, 0 after 0 rounds. All rounds of a ledger must have the same event.

    Uses the conversion by Canonne, Kamath and Steinke at a few orders, without dp_accounting's corrections for tiny divergences.
    """
    bounds = np.full(len(ledgers), math.inf)
    orders = np.array(_FEW)
    for i, (ledger, count) in enumerate(zip(ledgers, rounds)):
        if ledger.account.reason:
            continue
        event, per_round = _split(ledger.account.event(1))
        curve = count * per_round * _short_curve(event, ledger.account.relation)
        converted = curve + np.log1p(-1 / orders) - np.log(ledger.delta * orders) / (orders - 1)
        bounds[i] = max(float(np.min(converted)), 0.0) if count else 0.0
    return bounds


def _split(event: dpa.DpEvent) -> tuple[dpa.DpEvent, int]:
    return (event.event, event.count) if isinstance(event, dpa.SelfComposedDpEvent) else (event, 1)


def _epsilon(event: dpa.DpEvent, count: int, relation: Relation, delta: float) -> float:
    """Returns ε of `count` events by RDP."""
    epsilon, _ = dpa.rdp.rdp_privacy_accountant.compute_epsilon(ORDERS, count * renyi_curve(event, relation), delta)
    return math.inf if math.isnan(epsilon) else float(epsilon)


@functools.lru_cache(maxsize=4096)
def renyi_curve(event: dpa.DpEvent, relation: Relation) -> np.ndarray:
    """Returns float64 [orders]: the Rényi divergence of one event at each of `ORDERS`. Raises `UnsupportedEventError`.

    Sampling never increases the divergence (a mixture diverges no more than its worst part). So where the bound for sampling
    without replacement exceeds the divergence without sampling, the latter is used.
    """
    if isinstance(event, dpa.SampledWithoutReplacementDpEvent):
        sampled = np.full(len(ORDERS), math.inf)
        sampled[_WHOLE] = _library_curve(event, relation, tuple(np.array(ORDERS)[_WHOLE]))
        curve = np.fmin(sampled, _library_curve(event.event, relation))
    else:
        curve = _library_curve(event, relation)
    curve = np.where(np.isnan(curve), math.inf, np.maximum(curve, ROUNDING))
    curve.setflags(write=False)
    return curve


@functools.lru_cache(maxsize=4096)
def _short_curve(event: dpa.DpEvent, relation: Relation) -> np.ndarray:
    """Returns float64 [`_FEW`]: the Rényi divergence at a few orders, without the bound for sampling without replacement."""
    curve = _library_curve(event, relation, _FEW)
    return np.where(np.isnan(curve), math.inf, np.maximum(curve, ROUNDING))


def _library_curve(event: dpa.DpEvent, relation: Relation, orders: Sequence[float] = ORDERS) -> np.ndarray:
    """Returns dp_accounting's divergences; ∞ for each order that it cannot compute."""
    with np.errstate(all="ignore"):
        try:
            return dpa.rdp.RdpAccountant(orders, _of_library(event, relation)).compose(event).rdp
        except (ArithmeticError, ValueError):
            if len(orders) == 1:
                return np.array([math.inf])
            return np.concatenate([_library_curve(event, relation, [order]) for order in orders])


def _of_library(event: dpa.DpEvent, relation: Relation) -> Relation:
    """Returns the relation under which dp_accounting implements the theorem about `event`.

    Under Poisson sampling a sum has the same distribution if a user is absent and if it contributes nothing. So the theorem about
    adding and removing a user also covers replacing it by one that contributes nothing, which keeps steps, rates and divisors.
    """
    by_nothing = relation is Relation.REPLACE_SPECIAL and isinstance(event, dpa.PoissonSampledDpEvent)
    return Relation.ADD_OR_REMOVE_ONE if by_nothing else relation


def _pld_epsilon(event: dpa.DpEvent, count: int, delta: float, scale: float, planned: int) -> float | None:
    """Returns ε of `count` events by PLD; None if there is no PLD or ε is above `MOST_EPSILON`.

    `scale`: a rough ε of all planned events; `planned`: their number. Both determine the grid.
    """
    if scale > MOST_EPSILON:
        return None
    if isinstance(event, dpa.GaussianDpEvent):  # the composition of Gaussians is one Gaussian
        one = _base(event.noise_multiplier / math.sqrt(count), 1.0, max(5e-4 * scale, 1e-6))
        return float(one.get_epsilon_for_delta(delta))
    sampled = isinstance(event, (dpa.PoissonSampledDpEvent, dpa.SampledWithoutReplacementDpEvent))
    if sampled and isinstance(event.event, dpa.GaussianDpEvent):
        noise = event.event.noise_multiplier
        # Rounding upwards adds about count · grid² / ε to ε: measured, 1 part in 10,000
        grid = min(0.01 * scale / math.sqrt(planned), 1e-2)
        # At most 50,000 points for one round, whose loss is at most about 1 / 2σ² + 9 / σ
        grid = max(grid, (0.5 / noise**2 + 9 / noise) / 5e4, 1e-6)
        if isinstance(event, dpa.PoissonSampledDpEvent):
            base = _base(noise, event.sampling_probability, grid)
        else:
            base = replaced(noise, event.sample_size / event.source_dataset_size, grid)
        return float(base.self_compose(count).get_epsilon_for_delta(delta))
    return None


@functools.lru_cache(maxsize=8)
def _base(noise_multiplier: float, rate: float, grid: float) -> pld.PrivacyLossDistribution:
    """Returns the PLD of one round, in both orders, for replacing a user by one that contributes nothing; without sampling, for
    any sum of sensitivity 1."""
    return pld.from_gaussian_mechanism(noise_multiplier, value_discretization_interval=grid, sampling_prob=rate)
