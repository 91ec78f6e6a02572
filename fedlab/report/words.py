"""Figures as people read them: with their unit, and with as many digits as they deserve."""

from __future__ import annotations

import datetime
import math
from typing import Any

NONE = "–"
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_LABELS = {
    "train_accuracy": "training accuracy",
    "train_loss": "training loss",
    "train_num_examples": "examples trained on",
    "test_accuracy_p10": "test accuracy, 10th percentile",
    "test_accuracy_worst": "worst client's test accuracy",
    "test_accuracy_best": "best client's test accuracy",
    "leakage_distance_correlation": "distance correlation",
    "client_accuracy_mean": "clients, mean accuracy",
    "client_accuracy_p10": "clients, 10th percentile",
    "client_accuracy_worst": "worst client",
    "train_real_score": "score of real images, while training",
    "train_generated_score": "score of generated images, while training",
    "real_score": "score of real images",
    "generated_score": "score of generated images",
    "polarity": "light backgrounds",
    "real_polarity": "light backgrounds of real images",
    "real_classifier_score": "classifier score of real images",
    "frechet_logits": "Fréchet distance, logits",
    "frechet_features": "Fréchet distance, features",
    "epsilon": "ε",
    "delta": "δ",
    "bytes_up": "sent up",
    "bytes_down": "sent down",
    "bytes_up_total": "sent up in all",
    "bytes_down_total": "sent down in all",
    "seconds_per_round": "time of a round",
    "seconds_total": "time in all",
    "difftest_delta_class": "predictions that differ",
    "difftest_delta_score": "examples whose scores differ",
    "difftest_largest_score_difference": "largest difference of a score",
    "difftest_accuracy_difference": "difference in accuracy",
    "difftest_clients_different": "clients that differ",
    "difftest_clients_worse": "clients served worse",
    "num_clients": "clients reporting",
    "num_dropped": "clients dropped out",
}


def metric_label(name: str) -> str:
    """A metric's name in words."""
    return _LABELS.get(name, name.replace("_", " ").strip().replace("epsilon", "ε"))


def axis_label(name: str) -> str:
    """A metric's name with the unit of its bare values."""
    unit = "s" if name.startswith("seconds") else "bytes" if name.startswith("bytes") else ""
    return f"{metric_label(name)}, {unit}" if unit else metric_label(name)


def metric_value(name: str, value: Any, digits: int = 4) -> str:
    """A metric's value with the unit that its name implies; "–" for none."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return NONE if value is None else "∞" if value == "inf" else str(value)
    if name.startswith("epsilon"):
        return epsilon(value, digits)
    if "accuracy" in name or name.endswith(("_rate", "_fraction", "polarity")):
        return percent(value)
    if name.startswith("bytes_") or name.endswith("_bytes"):
        return num_bytes(value)
    if name.startswith("seconds") or name.endswith("_seconds"):
        return seconds(value)
    return number(value, digits)


def spread(name: str, mean: float, deviation: float | None = None) -> str:
    """A mean and its standard deviation, or the mean alone."""
    return metric_value(name, mean) + (f" ± {metric_value(name, deviation, 2)}" if deviation is not None else "")


def epsilon(value: float, digits: int = 4) -> str:
    """A privacy loss, never told smaller than it is (but for what float64 cannot tell)."""
    if math.isinf(value):
        return "∞"
    step = 10.0 ** (math.floor(math.log10(value)) + 1 - digits) if value > 0 else 1.0
    return number(math.ceil(round(value / step, 6)) * step, digits)


def percent(value: float | None) -> str:
    return NONE if value is None or not math.isfinite(value) else f"{value:.2%}"


def number(value: float | None, digits: int = 4) -> str:
    """`digits` significant ones; thousands set apart; a power of ten where there would be too many zeros."""
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


def num_bytes(value: float | None) -> str:
    """In powers of 1,000."""
    if value is None:
        return NONE
    for unit in ("B", "kB", "MB", "GB"):
        if abs(value) < 999.5:
            return f"{value:.0f} B" if unit == "B" else f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:,.3g} TB" if value < 1000 else f"{value:,.0f} TB"


def seconds(value: float | None) -> str:
    """A duration: "0.060 s", "12.2 s", "3 min 5 s", "2 h 10 min"."""
    if value is None or not math.isfinite(value):
        return NONE
    if value < 59.95:
        return f"{value:.3f} s" if value < 1 else f"{value:.2f} s" if value < 10 else f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes} min" if hours else f"{minutes} min {rest} s"


def when(time: str | None) -> str:
    """An ISO time of a manifest as "2026-11-23 18:56 UTC"."""
    parsed = parse_time(time)
    return NONE if parsed is None else parsed.strftime("%Y-%m-%d %H:%M UTC")


def parse_time(time: str | None) -> datetime.datetime | None:
    """In UTC; None for what is no ISO time."""
    try:
        return datetime.datetime.fromisoformat(time).astimezone(datetime.timezone.utc) if time else None
    except (TypeError, ValueError):
        return None


def setting(value: Any) -> str:
    """A value of a configuration as it would be typed."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(setting, value))}]"
    return str(value)


def option(key: str, value: Any) -> tuple[str, str]:
    """A key and its value for a legend: a class that `_target_` names stands for its stage."""
    if key.endswith("_target_"):
        return key[: -len("._target_")] or key, str(value).rpartition(".")[2]
    return key, setting(value)


def counted(count: int, noun: str) -> str:
    """ "1 round", "2 rounds"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
