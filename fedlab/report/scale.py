"""Scales of axes: a range of values, their positions on the axis, and round values for ticks."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence


@dataclasses.dataclass(frozen=True)
class Scale:
    """The values from `low` to `high`, spaced linearly or, with `log`, logarithmically; `ticks`: the values to mark."""

    low: float
    high: float
    ticks: tuple[float, ...]
    log: bool = False

    def at(self, value: float) -> float:
        """Returns the position of `value`: 0 at `low`, 1 at `high`."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def linear(low: float, high: float, count: int = 5, nice: bool = True, whole: bool = False) -> Scale:
    """Returns a scale of about `low` to `high` (exactly, unless `nice`) with about `count` ticks; `whole`: at whole numbers."""
    if not math.isfinite(high - low):  # the difference overflows a float
        low, high = max(low, -1e300), min(high, 1e300)
    if high - low <= 1e-12 * max(abs(low), abs(high)):  # all values are equal
        pad = 1.0 if whole else abs(low) * 0.1 or 1.0
        low, high = low - pad, high + pad
    step = max(_round_step((high - low) / count), 1.0 if whole else 0.0)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = [i * step for i in range(first, last + 1)]
    if nice:
        return Scale(ticks[0], ticks[-1], tuple(ticks))
    return Scale(low, high, tuple(t for t in ticks if low - 1e-9 * step <= t <= high + 1e-9 * step))


def rounds(first: int, last: int) -> Scale:
    """Returns the scale of rounds from `first` to `last`, with ticks at whole numbers."""
    if first == last:
        return Scale(first - 0.5, last + 0.5, (float(first),))
    step = max(1, round(_round_step((last - first) / 5)))
    ticks = range((first // step + 1) * step, last + 1, step)
    return Scale(first, last, (*([float(first)] if not ticks or ticks[0] - first > step / 3 else []), *map(float, ticks)))


def logarithmic(values: Sequence[float]) -> Scale:
    """Returns a logarithmic scale of positive values, with ticks at powers of ten, or in 1-2-5 steps if these are few."""
    low, high = min(values), max(values)
    if low == high:
        low, high = low / 2, high * 2
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    every = max(1, len(powers) // 5)
    ticks = [10.0**p for p in powers if p % every == 0 and low * 0.999 <= 10.0**p <= high * 1.001]
    if len(ticks) < 3:
        ticks = [m * 10.0**p for p in powers for m in (1, 2, 5) if low * 0.999 <= m * 10.0**p <= high * 1.001]
    return Scale(low, high, tuple(ticks), log=True)


def suited(values: Iterable[float], whole: bool = False) -> Scale:
    """Returns a logarithmic scale for positive values of different magnitude, else a linear one; `whole`: whole ticks."""
    known = [v for v in values if math.isfinite(v)] or [0.0]
    if min(known) > 0 and max(known) / min(known) >= 30:
        return logarithmic(known)
    return linear(min(known), max(known), whole=whole)


def _round_step(step: float) -> float:
    """Rounds a step up to 1, 2 or 5 × 10ⁿ."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(m * power for m in (1, 2, 5, 10) if step <= m * power * (1 + 1e-9))
