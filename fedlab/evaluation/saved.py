"""A classifier that is loaded from the file of a finished run."""

from __future__ import annotations

import pathlib

import numpy as np
import tensorflow as tf

from fedlab.errors import DataError
from fedlab.fingerprint import file_fingerprint
from fedlab.models.saved import load_keras
from fedlab.tasks.encoding import as_model_input
from fedlab.types import ExampleSet

_BATCH = 1000


class SavedClassifier:
    """A Keras model that takes floats, [0, 1] for images, and returns logits. Raises `FedlabError` for any other file."""

    def __init__(self, path: pathlib.Path):
        self.path, self._model = path, load_keras(path)
        self.sha256 = file_fingerprint(path)

    def correct(self, examples: ExampleSet) -> np.ndarray:
        """Returns bool [N]: True for each example with a correct prediction. Raises `DataError` for examples of another kind."""
        needed, given = tuple(self._model.input_shape[1:]), examples.x.shape[1:]
        if needed != given or self._model.output_shape[-1] != examples.num_classes:
            raise DataError(
                f"{self.path} has {self._model.output_shape[-1]} classes of examples of shape {list(needed)}; the data has "
                f"{examples.num_classes} classes of shape {list(given)}."
            )
        found = [np.zeros(0, bool)]
        for begin in range(0, len(examples), _BATCH):
            batch = slice(begin, begin + _BATCH)
            logits = self._logits(as_model_input(tf.constant(examples.x[batch])))
            found.append(np.argmax(logits.numpy(), axis=1) == examples.y[batch])
        return np.concatenate(found)

    def probabilities(self, x: np.ndarray) -> np.ndarray:
        """Returns float32 [N, classes] for raw examples `x` [N, …], N ≥ 1. Raises `DataError` for examples of another shape."""
        needed, given = list(self._model.input_shape[1:]), list(x.shape[1:])
        if needed != given:
            raise DataError(f"{self.path} takes examples of shape {needed}, these have {given}.")
        batches = (as_model_input(tf.constant(x[begin : begin + _BATCH])) for begin in range(0, len(x), _BATCH))
        return np.concatenate([tf.nn.softmax(self._logits(batch)).numpy() for batch in batches])

    @tf.function(reduce_retracing=True)
    def _logits(self, x: tf.Tensor) -> tf.Tensor:
        return self._model(x, training=False)
