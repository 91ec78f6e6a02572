"""Metrics of a whole set of examples, computed from its predictions: fedlab's by name, and `OwnMetric` for a user's own."""

from __future__ import annotations

import abc
import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import ClassVar

import numpy as np

from fedlab.errors import ConfigError, one_line, own_frames
from fedlab.measures import Metric
from fedlab.spec import Spec, shown

# Predictions float [N, …], as the task's `predictions` returns them, and targets [N, …] → the metric; NaN where it is undefined
Compute = Callable[[np.ndarray, np.ndarray], float]
_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclasses.dataclass(frozen=True)
class Further:
    """A metric of fedlab's own by the name `name`. `display`: in reports."""

    name: str
    display: Metric
    compute: Compute


class OwnMetric(Spec):
    """A user's own metric of the test set and of each client's own examples: an entry of `evaluation.metrics` with a `_target_`.

    A subclass states `name`, as records and tables call the metric, and `display`, its name in words and its direction.
    """

    makes: ClassVar[Mapping[str, tuple[str, ...]]] = {"compute": ("builtins.float", "builtins.int", "numpy.number")}

    name: ClassVar[str]
    display: ClassVar[Metric]

    @classmethod
    def __pydantic_init_subclass__(cls, **options: object) -> None:
        super().__pydantic_init_subclass__(**options)
        if not isinstance(getattr(cls, "display", None), Metric):
            raise ValueError(f"{cls.__name__}.display must be a fedlab.tasks.Metric, such as Metric('Cohen’s kappa')")
        name = getattr(cls, "name", None)
        if not (isinstance(name, str) and _NAME.fullmatch(name)):
            raise ValueError(f"{cls.__name__}.name must be lower-case letters, digits and _, such as 'kappa', not {name!r}")

    @abc.abstractmethod
    def compute(self, predictions: np.ndarray, y: np.ndarray) -> float:
        """Returns the metric; NaN where it is undefined. N ≥ 1.

        `predictions`: float32 [N, …], finite: with classes their probabilities [N, classes], with labels those of each label
        [N, labels], in regression the predicted numbers [N, 1] in the units of the data. `y` [N, …]: the stored targets.
        """


def computed(metric: Further | OwnMetric, predictions: np.ndarray, y: np.ndarray) -> float:
    """Returns the metric; NaN if a prediction is not finite. Raises `ConfigError` if a user's own one fails."""
    if not np.isfinite(predictions).all():
        return float("nan")
    if isinstance(metric, Further):
        return metric.compute(predictions, y)
    try:
        return float(metric.compute(predictions, y))
    except Exception as error:
        where = own_frames(error)
        name = f"{type(metric).__name__}.compute"
        raise ConfigError(
            f"evaluation.metrics: {name} failed: {type(error).__name__}: {one_line(error)}{f' ({where})' if where else ''}."
        ) from error


def check_entry(entry: object) -> None:
    """Raises `ValueError` for an entry of `evaluation.metrics` that is neither a name nor an `OwnMetric`."""
    if not isinstance(entry, (str, OwnMetric)):
        raise ValueError(
            f"each item must be a name or {{_target_: my_module.MyMetric}}, a fedlab.tasks.OwnMetric, not {shown(entry)}"
        )
