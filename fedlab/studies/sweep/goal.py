"""The goal of a sweep: its objective with the defaults that follow from the task of its runs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from fedlab.archive.task import Learned
from fedlab.errors import FedlabError, did_you_mean
from fedlab.studies.sweep.objective import Direction, Objective
from fedlab.targets import Cost, NotReached, cost_in, is_cost


@dataclasses.dataclass(frozen=True)
class Goal:
    """The metrics that rank the jobs of a sweep, at least one, and the direction of each."""

    metrics: tuple[str, ...]
    directions: tuple[Direction, ...]

    def values(self, summary: Mapping[str, Any]) -> list[float]:
        """Returns the metrics in a run's summary. Raises `FedlabError` if one is missing or not a finite number, and `NotReached`
        if it is the cost of a target, such as rounds_to[TARGET], which the run has not reached."""
        return [_figure(summary, name) for name in self.metrics]

    @property
    def costs(self) -> dict[str, tuple[Cost, float]]:
        """Returns the costs and targets of metrics such as rounds_to[TARGET], by name: they follow from a run's records."""
        return {name: found for name in self.metrics if (found := cost_in(name))}

    @property
    def maximize(self) -> tuple[bool, ...]:
        """Returns, per metric, whether more is better."""
        return tuple(direction == "maximize" for direction in self.directions)


def goal_of(objective: Objective, task: Learned) -> Goal:
    """Returns the metrics and their directions for runs of `task`."""
    metrics = objective.metrics or (f"test_{task.headline or 'loss'}",)
    return Goal(metrics, objective.directions or (_direction(metrics[0], task),))


def _direction(name: str, task: Learned) -> Direction:
    metric = task.metric(name.rpartition("/")[2])  # of an arm: ARM/NAME
    return "minimize" if is_cost(name) or (metric and not metric.more_is_better) else "maximize"


def _figure(summary: Mapping[str, Any], name: str) -> float:
    figures = [k for k, v in summary.items() if isinstance(v, (int, float)) and not isinstance(v, bool)]
    if name not in summary:
        hint = did_you_mean(name, figures)
        raise FedlabError(f"objective.metric={name}, but summary.json has no such figure.{hint} Figures: {', '.join(figures)}.")
    value = summary[name]
    if value is None and is_cost(name):
        best = f": its best value is {summary['best_so_far']:.4g}" if summary.get("best_so_far") is not None else ""
        raise NotReached(f"objective.metric={name}, but the run has not reached the target{best}.")
    if name not in figures or not math.isfinite(value):
        raise FedlabError(f"objective.metric={name}, but {name} is {value} in summary.json, no finite number.")
    return float(value)
