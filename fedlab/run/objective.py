"""What a sweep looks for: figures of summary.json, each to be made large or small."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PositiveInt, model_validator

from fedlab.errors import FedlabError, did_you_mean
from fedlab.spec import Spec

_Listed = BeforeValidator(lambda given: (given,) if isinstance(given, str) else given)


class Objective(Spec):
    """One figure and its direction, or equally long lists of both. `seeds`: runs per job, of which the mean counts."""

    metric: Annotated[tuple[str, ...], _Listed, Field(min_length=1)] = ("test_accuracy",)
    direction: Annotated[tuple[Literal["maximize", "minimize"], ...], _Listed] = ("maximize",)
    seeds: PositiveInt = 1

    @model_validator(mode="after")
    def _one_direction_each(self) -> Objective:
        if len(self.metric) != len(self.direction):
            raise ValueError(
                f"{len(self.metric)} metric(s) ({', '.join(self.metric)}) and {len(self.direction)} direction(s) "
                f"({', '.join(self.direction)}): give each metric its direction, maximize or minimize"
            )
        if len(set(self.metric)) < len(self.metric):
            raise ValueError(f"a metric is named twice ({', '.join(self.metric)}): name each once")
        return self

    def values(self, summary: Mapping[str, Any]) -> list[float]:
        """The figures in a run's summary. Raises `FedlabError` where one is not there, or is no finite number."""
        return [_figure(summary, name) for name in self.metric]

    def over_seeds(self, values: Sequence[Sequence[float] | None]) -> tuple[list[float] | None, list[float] | None]:
        """Mean and standard deviation of the figures of runs that differ in their seed alone.

        A run without figures counts: then there is no mean. One run has no deviation.
        """
        given = [v for v in values if v is not None]
        if not given or len(given) < len(values):
            return None, None
        columns = list(zip(*given))
        return [statistics.fmean(c) for c in columns], [statistics.stdev(c) for c in columns] if len(given) > 1 else None

    def best(self, values: Sequence[Sequence[float] | None]) -> list[int]:
        """Positions of the best: one where there is one figure; of several, all that none beats in one and equals in the rest."""
        scores = {i: self._scores(v) for i, v in enumerate(values) if v is not None}
        if len(self.metric) == 1:
            return [max(scores, key=lambda i: scores[i])] if scores else []
        return [i for i, mine in scores.items() if not any(_beats(other, mine) for other in scores.values())]

    def _scores(self, values: Sequence[float]) -> tuple[float, ...]:
        """The same values, with more being better."""
        return tuple(v if d == "maximize" else -v for v, d in zip(values, self.direction))


def _beats(a: Sequence[float], b: Sequence[float]) -> bool:
    return all(x >= y for x, y in zip(a, b)) and tuple(a) != tuple(b)


def _figure(summary: Mapping[str, Any], name: str) -> float:
    figures = [k for k, v in summary.items() if isinstance(v, (int, float)) and not isinstance(v, bool)]
    if name not in summary:
        hint = did_you_mean(name, figures)
        raise FedlabError(f"objective.metric={name}, but summary.json has no such figure.{hint} Figures: {', '.join(figures)}.")
    value = summary[name]
    if name not in figures or not math.isfinite(value):
        raise FedlabError(f"objective.metric={name}, but {name} is {value} in summary.json, no finite number.")
    return float(value)
