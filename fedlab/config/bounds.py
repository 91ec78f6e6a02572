"""Tolerances and bounds of figures, of which expectations of experiments and rules of scorecards consist."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

ROUNDING = 1e-9  # of a tolerance in decimals, such as 0.005


def is_number(found: Any) -> bool:
    """Returns True if `found` is a finite number, and no truth value."""
    return isinstance(found, (int, float)) and not isinstance(found, bool) and math.isfinite(found)


def is_within(found: float, value: float, tolerance: float) -> bool:
    """Returns True if `found` differs from `value` by at most `tolerance` (absolute, at least 0)."""
    return abs(found - value) <= tolerance + ROUNDING


def is_between(found: float, least: float | None, most: float | None) -> bool:
    """Returns True if `found` is within these inclusive bounds; None: no bound."""
    return (least is None or found >= least - ROUNDING) and (most is None or found <= most + ROUNDING)


def in_words(least: float | None, most: float | None, shown: Callable[[float], str] = "{:g}".format) -> str:
    """Returns bounds in words, such as "at least 0.9 and at most 1". `shown`: formats a bound."""
    bounds = (("at least", least), ("at most", most))
    return " and ".join(f"{words} {shown(bound)}" for words, bound in bounds if bound is not None)
