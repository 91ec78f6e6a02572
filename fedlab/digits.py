"""Numbers as text, with a suitable number of digits, and values of a configuration."""

from __future__ import annotations

import math
from typing import Any

NONE = "–"
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(value: float | None, digits: int = 4) -> str:
    """Formats `value` with `digits` significant digits and separated thousands; with a power of ten to avoid many zeros."""
    if value is None or not math.isfinite(value):
        return NONE
    if value == int(value) and abs(value) < 1e9:
        return f"{int(value):,}".replace("-", "−")
    if not 1e-4 <= abs(value) < 1e6:
        mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
        mantissa = mantissa.rstrip("0").rstrip(".").replace("-", "−")
        return f"{mantissa} × 10{str(int(exponent)).translate(_SUPERSCRIPT)}"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{decimals}f}".replace("-", "−")


def epsilon(value: float, digits: int = 4) -> str:
    """Formats a privacy loss, rounded up (within the precision of float64)."""
    if math.isinf(value):
        return "∞"
    step = 10.0 ** (math.floor(math.log10(value)) + 1 - digits) if value > 0 else 1.0
    return number(math.ceil(round(value / step, 6)) * step, digits)


def setting(value: Any) -> str:
    """Formats a value of a configuration as in an override."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(setting, value))}]"
    return str(value)
