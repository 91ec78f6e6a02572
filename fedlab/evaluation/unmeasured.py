"""A process whose weights are not those of a model: nothing is evaluated, and its weights are saved as arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from fedlab.archive import RunFolder, replacing
from fedlab.evaluation.evaluator import Evaluator, Trained
from fedlab.evaluation.predictions import OneModel
from fedlab.types import Partition


class NoMetrics(Evaluator):
    """Builds the model of the configuration, which a process may use as a part. Evaluates nothing."""

    losses = ()

    def _build(self, model: Any) -> None:
        built = OneModel(self.dataset.train.task, model, self.dataset, self.evaluation, self.seed)
        self.model, self.keras, self.num_weights = built.model, built.keras, 0

    def measured(self, trained: Trained, round_num: int) -> dict[str, Any]:
        return {}

    def is_measured(self, metric: str) -> bool:
        return False

    def finish(self, trained: Trained, partition: Partition, folder: RunFolder) -> dict[str, Any]:
        """Writes weights.npz: the weights as arrays 0, 1, …, in the order of the state of the process."""
        with replacing(folder.weights) as partial, open(partial, "wb") as file:
            np.savez(file, **{f"{i}": np.asarray(w) for i, w in enumerate(trained.weights)})
        return {}

    def lines(self) -> list[str]:
        return self.evaluation.lines()
