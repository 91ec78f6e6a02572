"""Finished runs for further evaluation: model.keras, and the data according to the run's own configuration."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from fedlab.archive import Run
from fedlab.run.experiment import Experiment
from fedlab.run.inputs import load
from fedlab.types import Dataset, ExampleSet, Partition


@dataclasses.dataclass(frozen=True)
class Finished:
    """A run, or an arm of one, with a final model. Reads its data on first use; raises `FedlabError`."""

    run: Run
    experiment: Experiment

    @functools.cached_property
    def _inputs(self) -> tuple[Dataset, Partition]:
        return load(self.experiment)

    def test(self) -> tuple[ExampleSet, Partition]:
        """Returns the test set, as one client."""
        examples = self._inputs[0].test
        return examples, Partition(("test set",), (np.arange(len(examples)),))

    def clients(self) -> tuple[ExampleSet, Partition]:
        """Returns the training set, and the examples on which each client evaluates a model."""
        dataset, partition = self._inputs
        return dataset.train, partition.evaluated

    def probabilities(self, x: np.ndarray) -> np.ndarray:
        """Returns float32 [N, classes] for raw examples [N, …], N ≥ 1."""
        from fedlab.evaluation.saved import SavedClassifier  # imports TensorFlow

        return SavedClassifier(self.run.folder.model).probabilities(x)
