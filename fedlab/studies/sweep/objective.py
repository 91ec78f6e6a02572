"""The options of the objective of a sweep: metrics of summary.json, each to maximize or minimize."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PositiveInt, model_validator

from fedlab.spec import Spec
from fedlab.targets import Cost, cost_in, cost_named, is_cost

_Listed = BeforeValidator(lambda given: (given,) if isinstance(given, str) else given)


Direction = Literal["maximize", "minimize"]


class Objective(Spec):
    """One metric and its direction, or equally long lists of both. `seeds`: runs per job; their mean counts.

    `metric`: None is the headline metric of the task on the test set. `direction`: None, for a single metric, is the direction of
    the task's metric; rounds_to[TARGET], bytes_to[TARGET] and the like are minimized, other metrics, such as bytes_up_total, are
    maximized.

    `target`: a value of the metric that ranks runs, such as 0.97 for an accuracy of 97 %. It replaces `metric`: runs are ranked
    by their `cost`, the rounds, bytes, training seconds or simulated seconds until they reach it; several costs ask for a
    trade-off.
    """

    metric: Annotated[Annotated[tuple[str, ...], Field(min_length=1)] | None, _Listed] = None
    direction: Annotated[tuple[Direction, ...] | None, _Listed] = None
    target: float | None = None
    cost: Annotated[Annotated[tuple[Cost, ...], Field(min_length=1)], _Listed] = ("rounds",)
    seeds: PositiveInt = 1

    @property
    def metrics(self) -> tuple[str, ...] | None:
        """Returns the names of the metrics, also of costs; None for the headline metric of the task."""
        return self.metric if self.target is None else tuple(cost_named(cost, self.target) for cost in self.cost)

    @property
    def directions(self) -> tuple[Direction, ...] | None:
        """Returns the direction of each metric; None if it is that of the task's metric."""
        if self.direction is None and self.target is not None:
            return tuple("minimize" for _ in self.cost)
        return self.direction

    @model_validator(mode="after")
    def _one_direction_each(self) -> Objective:
        if self.target is not None and self.metric is not None:
            given = ", ".join(self.metric)
            raise ValueError(f"target={self.target:g} and metric={given}: give one of them, and null for the other")
        if self.target is None and self.cost != ("rounds",):
            raise ValueError(f"cost={','.join(self.cost)} needs objective.target, such as 0.97")
        metrics, directions = self.metrics or ("the headline metric",), self.directions
        if len(metrics) != (1 if directions is None else len(directions)):
            given = f"{len(directions)} direction(s) ({', '.join(directions)})" if directions else "no direction"
            listed = f"{len(metrics)} metric(s) ({', '.join(metrics)})"
            raise ValueError(f"{listed} and {given}: give each metric its direction, maximize or minimize")
        for name, direction in zip(metrics, directions or ("minimize",)):
            if is_cost(name) and "/" in name:
                what = name.rpartition("/")[2].partition("[")[0]
                raise ValueError(f"{name}: {what} cannot be the objective of runs with arms: choose another metric of the arm")
            if is_cost(name) and cost_in(name) is None:
                raise ValueError(f"{name} must contain a number, such as {name.partition('[')[0]}[0.97]")
            if is_cost(name) and direction == "maximize":
                fewer = name.partition("_")[0]
                raise ValueError(f"fewer {fewer} are better: minimize {name}, with objective.direction=minimize")
        if len(set(metrics)) < len(metrics):
            raise ValueError(f"a metric is named twice ({', '.join(metrics)}): name each once")
        return self

    def over_seeds(self, values: Sequence[Sequence[float] | None]) -> tuple[list[float] | None, list[float] | None]:
        """Returns mean and standard deviation of the metrics of runs that differ in their seed alone.

        If a run has no metrics, both are None. A single run has no deviation.
        """
        given = [v for v in values if v is not None]
        if not given or len(given) < len(values):
            return None, None
        columns = list(zip(*given))
        return [statistics.fmean(c) for c in columns], [statistics.stdev(c) for c in columns] if len(given) > 1 else None
