"""Finished runs as models that can be asked again: model.keras, and the data as the run's own configuration gives them."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from fedlab.archive import Run
from fedlab.archive.folder import relative
from fedlab.errors import FedlabError, one_line
from fedlab.run.experiment import Experiment
from fedlab.types import Dataset, ExampleSet, Partition


@dataclasses.dataclass(frozen=True)
class Finished:
    """A run, or an arm of one, that has left its model."""

    run: Run
    experiment: Experiment

    @functools.cached_property
    def _inputs(self) -> tuple[Dataset, Partition]:
        return self.experiment.load()

    def test(self) -> tuple[ExampleSet, Partition]:
        """The test set, as one client. Raises `FedlabError`."""
        examples = self._inputs[0].test
        return examples, Partition(("test set",), (np.arange(len(examples)),))

    def clients(self) -> tuple[ExampleSet, Partition]:
        """The training set, and which of it each client judges a model by. Raises `FedlabError`."""
        dataset, partition = self._inputs
        return dataset.train, partition.evaluated

    def probabilities(self, x: np.ndarray) -> np.ndarray:
        """float32 [N, classes] of raw examples [N, …], N ≥ 1. Raises `FedlabError` where the model does not take them."""
        import tensorflow as tf

        from fedlab.models.functional import as_model_input

        try:
            model = tf.keras.models.load_model(self.run.folder.model, compile=False)
        except Exception as error:
            raise FedlabError(f"{relative(self.run.folder.model)} cannot be loaded: {one_line(error)}") from error
        if tuple(model.input_shape[1:]) != x.shape[1:]:
            needs, has = list(model.input_shape[1:]), list(x.shape[1:])
            raise FedlabError(f"the model of {relative(self.run.path)} takes examples of shape {needs}, these have {has}.")
        size = self.experiment.evaluation.batch_size
        predict = tf.function(
            lambda batch: tf.nn.softmax(model(as_model_input(batch), training=False)),
            autograph=False,
            input_signature=[tf.TensorSpec([None, *x.shape[1:]], tf.as_dtype(x.dtype))],
        )
        return np.concatenate([predict(x[i : i + size]).numpy() for i in range(0, len(x), size)])
