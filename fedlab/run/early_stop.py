"""`EarlyStop`: ends a run before its last round if metrics of the test set meet a condition. Imports no TensorFlow."""

from __future__ import annotations

import dataclasses
import math
import re

from pydantic import PositiveInt, field_validator, model_validator

from fedlab.archive.figures import ranked_metric
from fedlab.archive.metrics import Record
from fedlab.archive.task import Learned
from fedlab.spec import Spec

_METRIC = r"(?:[A-Za-z0-9][\w-]*/)?(?:global_)?test_\w+"
_CONDITION = re.compile(rf"\s*({_METRIC})\s*(>=|<=)\s*(\S+)\s*")


@dataclasses.dataclass(frozen=True)
class Condition:
    """A bound on a metric: at least `value`, or at most."""

    metric: str
    at_least: bool
    value: float

    def holds(self, value: float) -> bool:
        """Returns True if a metric of this value satisfies the bound; NaN never does."""
        return value >= self.value if self.at_least else value <= self.value


class EarlyStop(Spec):
    """The conditions under which a run ends before `num_rounds`, each checked after every evaluated round.

    `when`: METRIC>=VALUE or METRIC<=VALUE of a metric of the test set. `patience`: evaluations in a row that bring no better
    value of `metric`, at least 1. Metrics of clients' own examples are excluded, because ε does not cover them.
    """

    when: str | None = None
    patience: PositiveInt | None = None
    metric: str | None = None  # of `patience`; None: the metric that ranks runs

    @field_validator("when")
    @classmethod
    def _is_a_condition(cls, given: str | None) -> str | None:
        if given is not None and _parsed(given) is None:
            raise ValueError("must be METRIC>=VALUE or METRIC<=VALUE of a metric of the test set, such as test_accuracy>=0.97")
        return given

    @field_validator("metric")
    @classmethod
    def _is_of_the_test_set(cls, given: str | None) -> str | None:
        if given is not None and not re.fullmatch(_METRIC, given):
            raise ValueError("must be a metric of the test set, such as test_loss; with arms ARM/test_loss")
        return given

    @model_validator(mode="after")
    def _metric_has_a_use(self) -> EarlyStop:
        if self.metric is not None and self.patience is None:
            raise ValueError(f"metric={self.metric} is the metric of patience: give patience as well")
        return self

    @property
    def condition(self) -> Condition | None:
        """Returns `when`, parsed."""
        return None if self.when is None else _parsed(self.when)

    @property
    def is_on(self) -> bool:
        """Returns True if the run may end early."""
        return self.when is not None or self.patience is not None

    @property
    def metrics(self) -> dict[str, str | None]:
        """Returns the metric of each option that is set: None is the one that ranks runs."""
        found: dict[str, str | None] = {"when": self.condition.metric} if self.condition else {}
        return {**found, "metric": self.metric} if self.patience else found


def _parsed(text: str) -> Condition | None:
    found = _CONDITION.fullmatch(text)
    try:
        value = float(found[3]) if found else math.nan
    except ValueError:
        return None
    return Condition(found[1], found[2] == ">=", value) if found and math.isfinite(value) else None


class Watch:
    """Tells when a run ends. It is a function of the records alone, so a resumed run ends in the same round."""

    def __init__(self, spec: EarlyStop, task: Learned):
        self._spec, self._condition = spec, spec.condition
        self._metric = spec.metric or ranked_metric(task)
        metric = task.metric(self._metric.rpartition("/")[2])
        self._sign = 1 if metric and metric.more_is_better else -1
        self._best, self._best_round, self._without = -math.inf, 0, 0

    def note(self, record: Record) -> str | None:
        """Returns the reason to end after the round of `record`, the next one; None to go on."""
        condition, number = self._condition, record["round"]
        if condition and (value := _finite(record, condition.metric)) is not None and condition.holds(value):
            return f"stop.when={self._spec.when}: {condition.metric} was {value:.6g} in round {number:,}"
        value = _finite(record, self._metric)
        if self._spec.patience is None or value is None:
            return None
        if self._sign * value > self._best or not self._best_round:
            self._best, self._best_round, self._without = self._sign * value, number, 0
            return None
        self._without += 1
        if self._without < self._spec.patience:
            return None
        reason = f"stop.patience={self._spec.patience}: {self._metric} was best in round {self._best_round:,}"
        return f"{reason} ({self._sign * self._best:.6g}) and no better in the next {_counted(self._without)}"


def _counted(evaluations: int) -> str:
    return "evaluation" if evaluations == 1 else f"{evaluations:,} evaluations"


def _finite(record: Record, metric: str) -> float | None:
    """Returns a metric of a record; None for NaN and infinities as well, which metrics.jsonl does not contain."""
    value = record.get(metric)
    return value if value is not None and math.isfinite(value) else None
