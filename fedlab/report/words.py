"""Numbers as text: with their unit and a suitable number of digits."""

from __future__ import annotations

import datetime
import math
from typing import Any

from fedlab.archive.task import Learned
from fedlab.digits import NONE, epsilon, number, setting
from fedlab.registry import studies
from fedlab.targets import cost_in

NOT_REACHED = "not reached"  # of a target, as in rounds_to[0.97]
_LABELS = {
    "train_accuracy": "training accuracy",
    "train_loss": "training loss",
    "train_num_examples": "examples trained on",
    "best_round": "best round",
    "test_accuracy_p10": "test accuracy, 10th percentile",
    "test_accuracy_worst": "worst client's test accuracy",
    "test_accuracy_best": "best client's test accuracy",
    "leakage_distance_correlation": "distance correlation",
    "client_accuracy_mean": "clients, mean accuracy",
    "client_accuracy_p10": "clients, 10th percentile",
    "client_accuracy_worst": "worst client",
    "client_accuracy_std": "clients, standard deviation",
    "client_accuracy_weighted": "clients, mean over examples",
    "train_real_score": "score of real images, while training",
    "train_generated_score": "score of generated images, while training",
    "train_gradient_penalty": "gradient penalty",
    "server_generator_loss": "generator's loss",
    "real_score": "score of real images",
    "generated_score": "score of generated images",
    "polarity": "light backgrounds",
    "real_polarity": "light backgrounds of real images",
    "real_classifier_score": "classifier score of real images",
    "frechet_logits": "Fréchet distance, logits",
    "frechet_features": "Fréchet distance, features",
    "epsilon": "ε",
    "epsilon_rdp": "ε by RDP",
    "epsilon_pld": "ε by PLD",
    "delta": "δ",
    "bytes_up": "sent up",
    "bytes_down": "sent down",
    "bytes_up_total": "total sent up",
    "bytes_down_total": "total sent down",
    "seconds_per_round": "time of a round",
    "seconds_total": "total time",
    "simulated_seconds": "simulated time of the round",
    "simulated_seconds_total": "total simulated time",
    "staleness_mean": "mean staleness, server steps",
    "staleness_max": "largest staleness, server steps",
    "num_too_stale": "updates dropped as too stale",
    "secure_seconds": "time of the secure sum",
    "num_clients": "clients reporting",
    "num_dropped": "clients dropped out",
    **{name: label for study in studies() for name, label in study.metrics.labels.items()},
}
_TWO_DECIMALS = tuple(begin for study in studies() for begin in study.metrics.two_decimals)


def metric_label(name: str) -> str:
    """Returns a metric's name in words."""
    found = cost_in(name.rpartition("/")[2])
    if found:
        return f"{found[0].replace('_', ' ')} to {found[1]:g}"
    return _LABELS.get(name, name.replace("_", " ").strip().replace("epsilon", "ε"))


def task_label(name: str, learned: Learned) -> str:
    """Returns a metric's name in words; the run's task names its own metrics."""
    found = cost_in(name.rpartition("/")[2])
    if found:
        return f"{found[0].replace('_', ' ')} to {target_text(found[1], learned)}"
    return metric_label(name) if name in _LABELS else learned.label(name) or metric_label(name)


def task_value(name: str, value: Any, learned: Learned, digits: int = 4) -> str:
    """Formats a metric's value; the run's task defines the format of its own metrics."""
    if value is None and cost_in(name.rpartition("/")[2]):
        return NOT_REACHED
    metric = learned.metric(name)
    return percent(value) if metric and metric.percent and finite(value) else metric_value(name, value, digits)


def target_text(target: float, learned: Learned) -> str:
    """Formats a target of the metric that ranks runs, with the metric: "97% test accuracy"."""
    ranking, name = learned.ranking, f"test_{learned.headline or 'loss'}"
    shown = f"{100 * target:.6g}%" if ranking.percent else f"{target:g}"
    return f"{shown} {task_label(name, learned)}"


def finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def axis_label(name: str) -> str:
    """Returns a metric's name with the unit of its values."""
    if cost_in(name):  # its name begins with the unit
        return metric_label(name)
    unit = "s" if is_duration(name) else "bytes" if name.startswith("bytes") else ""
    return f"{metric_label(name)}, {unit}" if unit else metric_label(name)


def is_duration(name: str) -> bool:
    """Returns True if a metric is in seconds, by its name."""
    return name.startswith(("seconds", "simulated_seconds")) or name.endswith("_seconds")


def metric_value(name: str, value: Any, digits: int = 4) -> str:
    """Formats a metric's value with the unit that its name implies; "–" for None."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return NONE if value is None else "∞" if value == "inf" else str(value)
    if name.startswith("epsilon"):
        return epsilon(value, digits)
    if "accuracy" in name or name.endswith(("_rate", "_fraction", "polarity")):
        return percent(value)
    if name.startswith(_TWO_DECIMALS):
        return decimals(value, 2)
    if name.startswith("bytes_") or name.endswith("_bytes"):
        return num_bytes(value)
    if is_duration(name):
        return seconds(value)
    return number(value, digits)


def spread(name: str, mean: float, deviation: float | None = None) -> str:
    """Formats a mean with its standard deviation, or the mean alone."""
    return metric_value(name, mean) + (f" ± {metric_value(name, deviation, 2)}" if deviation is not None else "")


def percent(value: float | None) -> str:
    return NONE if value is None or not math.isfinite(value) else f"{value:.2%}".replace("-", "−")


def decimals(value: float | None, count: int) -> str:
    """Formats `value` with `count` decimals; zero has no sign."""
    return NONE if value is None or not math.isfinite(value) else f"{round(value, count) + 0.0:.{count}f}".replace("-", "−")


def num_bytes(value: float | None) -> str:
    """Formats a number of bytes with units in powers of 1,000."""
    if value is None:
        return NONE
    for unit in ("B", "kB", "MB", "GB"):
        if abs(value) < 999.5:
            return f"{value:.0f} B" if unit == "B" else f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:,.3g} TB" if value < 1000 else f"{value:,.0f} TB"


def seconds(value: float | None) -> str:
    """Formats a duration: "0.060 s", "12.2 s", "3 min 5 s", "2 h 10 min"."""
    if value is None or not math.isfinite(value):
        return NONE
    if value < 59.95:
        return f"{value:.3f} s" if value < 1 else f"{value:.2f} s" if value < 10 else f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes} min" if hours else f"{minutes} min {rest} s"


def when(time: str | None) -> str:
    """Formats an ISO time of a manifest as "2026-11-23 18:56 UTC"."""
    parsed = parse_time(time)
    return NONE if parsed is None else parsed.strftime("%Y-%m-%d %H:%M UTC")


def parse_time(time: str | None) -> datetime.datetime | None:
    """Parses an ISO time as UTC; None for other text."""
    try:
        return datetime.datetime.fromisoformat(time).astimezone(datetime.timezone.utc) if time else None
    except (TypeError, ValueError):
        return None


def option(key: str, value: Any) -> tuple[str, str]:
    """Formats a key and its value for a legend: a key STAGE._target_ becomes STAGE with the name of its class."""
    if key.endswith("_target_"):
        return key[: -len("._target_")] or key, str(value).rpartition(".")[2]
    return key, setting(value)


def counted(count: int, noun: str) -> str:
    """Formats a count with its noun: "1 round", "2 rounds"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
