"""Finished runs that can be asked again: model.keras, and the data as the run's own configuration gives them."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from fedlab.archive import Run
from fedlab.run.experiment import Experiment
from fedlab.types import Dataset, ExampleSet, Partition


@dataclasses.dataclass(frozen=True)
class Finished:
    """A run, or an arm of one, that has left its model. Its data is read when it is asked for; raises `FedlabError`."""

    run: Run
    experiment: Experiment

    @functools.cached_property
    def _inputs(self) -> tuple[Dataset, Partition]:
        return self.experiment.load()

    def test(self) -> tuple[ExampleSet, Partition]:
        """The test set, as one client."""
        examples = self._inputs[0].test
        return examples, Partition(("test set",), (np.arange(len(examples)),))

    def clients(self) -> tuple[ExampleSet, Partition]:
        """The training set, and which of it each client judges a model by."""
        dataset, partition = self._inputs
        return dataset.train, partition.evaluated

    def probabilities(self, x: np.ndarray) -> np.ndarray:
        """float32 [N, classes] of raw examples [N, …], N ≥ 1."""
        from fedlab.evaluation.saved import SavedClassifier  # imports TensorFlow

        return SavedClassifier(self.run.folder.model).probabilities(x)
