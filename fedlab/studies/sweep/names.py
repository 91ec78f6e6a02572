"""The names of jobs of a sweep in lines and tables."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fedlab.archive.task import Learned
from fedlab.report import words
from fedlab.studies.sweep.plan import last_word


def figures(metrics: Iterable[str], values: Iterable[float], task: Learned) -> str:
    """Formats metrics with their values."""
    pairs = zip(metrics, values)
    return ", ".join(f"{words.task_label(metric, task)} {words.task_value(metric, value, task)}" for metric, value in pairs)


def short_names(parameters: Iterable[str]) -> dict[str, str]:
    """Returns the last word of each dotted key, or the whole key if another ends with the same word."""
    last = {name: last_word(name) for name in parameters}
    return {name: word if list(last.values()).count(word) == 1 else name for name, word in last.items()}


def shown_value(value: Any) -> str:
    """Formats the value of a parameter."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
