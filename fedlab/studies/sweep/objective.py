"""The options of the objective of a sweep: metrics of summary.json, each to maximize or minimize."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PositiveInt, model_validator

from fedlab.spec import Spec
from fedlab.targets import is_named, target_in

_Listed = BeforeValidator(lambda given: (given,) if isinstance(given, str) else given)


Direction = Literal["maximize", "minimize"]


class Objective(Spec):
    """One metric and its direction, or equally long lists of both. `seeds`: runs per job; their mean counts.

    `metric`: None is the headline metric of the task on the test set. `direction`: None, for a single metric, is the direction of
    the task's metric; rounds_to[TARGET] is minimized, other metrics, such as bytes_up_total, are maximized.
    """

    metric: Annotated[Annotated[tuple[str, ...], Field(min_length=1)] | None, _Listed] = None
    direction: Annotated[tuple[Direction, ...] | None, _Listed] = None
    seeds: PositiveInt = 1

    @model_validator(mode="after")
    def _one_direction_each(self) -> Objective:
        metrics, directions = self.metric or ("the headline metric",), self.direction
        if len(metrics) != (1 if directions is None else len(directions)):
            given = f"{len(directions)} direction(s) ({', '.join(directions)})" if directions else "no direction"
            listed = f"{len(metrics)} metric(s) ({', '.join(metrics)})"
            raise ValueError(f"{listed} and {given}: give each metric its direction, maximize or minimize")
        for name, direction in zip(metrics, directions or ("minimize",)):
            if is_named(name) and "/" in name:
                raise ValueError(f"{name}: rounds_to cannot be the objective of runs with arms: choose another metric of the arm")
            if is_named(name) and target_in(name) is None:
                raise ValueError(f"{name} must contain a number, such as rounds_to[0.97]")
            if is_named(name) and direction == "maximize":
                raise ValueError(f"fewer rounds are better: minimize {name}, with objective.direction=minimize")
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
