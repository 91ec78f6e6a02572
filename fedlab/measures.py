"""The metrics of a task: their names, their display and their direction."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class Metric:
    """The display of a metric in reports, and its direction in rankings. `label`: its name in words."""

    label: str
    unit: str = ""
    percent: bool = False  # a fraction, shown as a percentage
    more_is_better: bool = False


@dataclasses.dataclass(frozen=True)
class Measures:
    """The metrics of a task, by name without test_ or train_. `headline`: the metric that ranks runs and clients."""

    name: str  # of the task, in words
    headline: str | None
    metrics: Mapping[str, Metric]


# Also those of runs that name no task, because an older fedlab made them
MEASURES_OF_CLASSIFICATION = Measures(
    "classification",
    "accuracy",
    {
        "accuracy": Metric("accuracy", percent=True, more_is_better=True),
        "loss": Metric("loss", unit="cross-entropy, nats"),
    },
)
