"""The figure of a row in a finished run, and figures in words."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

from fedlab.archive import Run
from fedlab.archive.figures import final_figures
from fedlab.config.expectations import figure_of
from fedlab.digits import NONE, number
from fedlab.errors import FedlabError, did_you_mean
from fedlab.report import words
from fedlab.studies.reproduce.scorecard import Row
from fedlab.targets import target_in


def measured(run: Run, row: Row, others: Collection[str] = ()) -> Any:
    """Returns the figure of `row` in a finished run; None for a target that was not reached. `others`: figures of no run.

    Raises `FedlabError` if the run has no such figure.
    """
    if row.at == "final":
        value = figure_of(run, row.metric, row.round)
    else:
        found = [record.get(row.metric) for record in run.records()]
        numbers = [float(v) for v in found if isinstance(v, (int, float)) and math.isfinite(v)]
        value = (max if row.at == "highest" else min)(numbers, default=None)
    if value is None and target_in(row.metric) is None:
        names = [*final_figures(run), *others]
        where = f" in round {row.round:,}" if row.round else ""
        raise FedlabError(f"the run has no {row.metric}{where}.{did_you_mean(row.metric, names)}")
    return value


def shown(metric: str, value: Any, digits: int = 4) -> str:
    """Formats a figure of `metric` with its unit."""
    return words.metric_value(metric.rpartition("/")[2], value, digits)


def shown_difference(metric: str, value: float | None, signed: bool = True) -> str:
    """Formats a difference of two figures of `metric`: of percentages in points."""
    if value is None:
        return NONE
    sign = ("+" if value > 0 else "") if signed else ""
    if shown(metric, 0.5).endswith("%"):
        return f"{sign}{words.decimals(100 * value, 2)} points"
    text = number(value, 4)
    return sign + (text.rstrip("0").rstrip(".") if "." in text and "×" not in text and not signed else text)


def label(row: Row) -> str:
    """Returns the metric of a row in words, with its arm and its round."""
    arm, _, name = row.metric.rpartition("/")
    of = f", arm {arm}" if arm else ""
    when = f", round {row.round:,}" if row.round else f", {row.at} of all rounds" if row.at != "final" else ""
    return f"{words.metric_label(name)}{of}{when}"


def rule_of(row: Row) -> str:
    """Returns the rule of a row in words."""

    def differing(value: float) -> str:
        return shown_difference(row.metric, value, signed=False)

    return row.rule.words(lambda value: shown(row.metric, value), differing, row.paper)
