"""A model for each client."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fedlab.archive import RunFolder
from fedlab.archive.clients import Scores, write_scores
from fedlab.errors import ConfigError
from fedlab.evaluation.evaluator import Trained, Weights
from fedlab.evaluation.predictions import OneModel
from fedlab.evaluation.scores import spread
from fedlab.types import Partition


class ModelPerClient(OneModel):
    """Evaluates each client's model on the whole test set, and on this client's own examples."""

    def measured(self, trained: Trained, round_num: int) -> dict[str, Any]:
        """Returns means over clients of their models' test metrics, and a percentile, the worst and the best of the headline.

        Also returns the test metrics of the global model, if there is one next to the clients' own models.
        """
        headline = self.headline
        self._summaries = [self._on_test(weights) for weights in _each(trained)]
        found = {f"test_{name}": float(np.mean([s[name] for s in self._summaries])) for name in self._summaries[0]}
        values = np.array([summary[headline] for summary in self._summaries])
        varies = spread(values, self.more_is_better)
        shared = {} if trained.global_model is None else self._on_test(trained.global_model)
        found.update({f"global_test_{name}": value for name, value in shared.items()})
        return {**found, **{f"test_{headline}_{which}": value for which, value in varies.items() if which != "mean"}}

    def client_predictions(self, trained: Trained, partition: Partition) -> list[np.ndarray]:
        train = self.dataset.train
        none = np.zeros((0, *self.prediction.output_shape), np.float32)
        each = zip(_each(trained), partition.evaluated.indices)
        return [self._scorer.predictions(weights, train, i) if len(i) else none for weights, i in each]

    def test_predictions(self, trained: Trained) -> np.ndarray:
        raise ConfigError("this process trains a model per client, and none for the test set.")

    def finish(self, trained: Trained, partition: Partition, folder: RunFolder) -> dict[str, Any]:
        """Also writes local_models.csv. Writes model.keras only if there is a single client."""
        figures = super().finish(trained, partition, folder)
        if self.evaluation.per_client and trained.global_model is not None:
            places = self._evaluated(partition)
            figures.update(self._over_clients("global_client", self._scores_of(trained.global_model, partition, places)))
        rows = zip(partition.client_ids, partition.sizes.tolist(), self._summaries)
        write_scores(folder.local_models, [self._score(name, n, summary) for name, n, summary in rows], self.headline)
        return figures

    def _client_scores(self, trained: Trained, partition: Partition, places: np.ndarray) -> Scores:
        """Returns the scores of each client's own model on its own examples: the held-out ones, if there are any."""
        models, own, found = _each(trained), partition.evaluated, []
        for place in places.tolist():
            mine = own.indices[place]
            summary = self._scorer.scores(models[place], self.dataset.train.select(mine)).summary()
            found.append(self._score(own.client_ids[place], len(mine), summary))
        return Scores.of(found)

    def _own_predictions(self, trained: Trained, partition: Partition, places: np.ndarray) -> list[np.ndarray]:
        models, own = _each(trained), partition.evaluated.indices
        return [self._scorer.predictions(models[p], self.dataset.train, own[p]) for p in places.tolist()]

    def _only_model(self, trained: Trained) -> Weights | None:
        models = _each(trained)
        return models[0] if len(models) == 1 else None


def _each(trained: Trained) -> Sequence[list]:
    models = trained.models
    assert models is not None, "a personal algorithm has a model for each client"
    return models
