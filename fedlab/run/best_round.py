"""`Keep`: also saves the model of the best evaluated round. Imports no TensorFlow."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import field_validator

from fedlab.archive.task import Learned
from fedlab.errors import FedlabError
from fedlab.spec import Spec


class Keep(Spec):
    """The models that a run saves in addition to the final one.

    `best`: a metric of the test set; model_best.keras is the model of the evaluated round with its best value, the first one of
    equals. None: no such model.
    """

    best: str | None = None

    @field_validator("best")
    @classmethod
    def _is_of_the_test_set(cls, given: str | None) -> str | None:
        if given is not None and not re.fullmatch(r"test_\w+", given):
            raise ValueError("must be a metric of the test set, such as test_accuracy")
        return given


class BestRound:
    """The best evaluated round so far, and its weights. Its `state` is part of the checkpoints."""

    def __init__(self, metric: str, task: Learned, weights: Sequence[Any]):
        """`weights`: the initial ones, in the order of the evaluator's."""
        found = task.metric(metric)
        self.metric, self._sign = metric, 1 if found and found.more_is_better else -1
        self.round, self.value = 0, math.nan  # round 0: none yet
        self.weights = _copied(weights)

    def note(self, round_num: int, metrics: Mapping[str, Any], weights: Sequence[Any]) -> None:
        """Takes the weights of a round if its metric is better than before. Values that are not finite never are."""
        value = metrics.get(self.metric)
        if value is None or not math.isfinite(value) or (self.round and not self._sign * (value - self.value) > 0):
            return
        self.round, self.value, self.weights = round_num, float(value), _copied(weights)

    @property
    def state(self) -> list[np.ndarray]:
        """Returns the round, the value, and the weights."""
        return [np.asarray(self.round), np.asarray(self.value), *self.weights]

    def restore(self, state: Sequence[Any]) -> None:
        """Continues from a saved `state`. Raises `FedlabError` if it belongs to another model."""
        found = _copied(state)
        if [w.shape for w in found] != [np.shape(w) for w in self.state]:
            raise FedlabError("the checkpoint does not have the best round of this run (keep.best): it belongs to another run.")
        self.round, self.value, self.weights = int(found[0]), float(found[1]), found[2:]

    def figures(self) -> dict[str, Any]:
        """Returns the best round and its metric, for summary.json; {} if there is none."""
        return {"best_round": self.round, f"best_{self.metric}": self.value} if self.round else {}


def _copied(weights: Sequence[Any]) -> list[np.ndarray]:
    return [np.array(w) for w in weights]
