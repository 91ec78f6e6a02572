"""A classifier read back from the file that a run has left."""

from __future__ import annotations

import hashlib
import pathlib

import numpy as np
import tensorflow as tf

from fedlab.errors import DataError, FedlabError, one_line
from fedlab.models.functional import as_model_input
from fedlab.models.saved import load_keras
from fedlab.types import ExampleSet

_BATCH = 1000


class SavedClassifier:
    """A Keras model of floats, [0, 1] for images, that gives logits. Raises `FedlabError` for a file that is none."""

    def __init__(self, path: pathlib.Path):
        self.path = path
        try:
            self.sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
            self._model = load_keras(path)
        except FileNotFoundError:
            raise FedlabError(f"there is no model {path}: a run writes it when it has finished.") from None
        except FedlabError:
            raise
        except Exception as error:  # Keras raises what it pleases
            raise FedlabError(f"{path} is no Keras model that can be read: {type(error).__name__}: {one_line(error)}") from error

    def correct(self, examples: ExampleSet) -> np.ndarray:
        """bool [N]: whether the class of each example was predicted. Raises `DataError` for examples of another kind."""
        needed, given = tuple(self._model.input_shape[1:]), examples.x.shape[1:]
        if needed != given or self._model.output_shape[-1] != examples.num_classes:
            raise DataError(
                f"{self.path} tells {self._model.output_shape[-1]} classes of {list(needed)} apart; the data has "
                f"{examples.num_classes} classes of {list(given)}."
            )
        found = [np.zeros(0, bool)]
        for begin in range(0, len(examples), _BATCH):
            batch = slice(begin, begin + _BATCH)
            logits = self._logits(as_model_input(tf.constant(examples.x[batch])))
            found.append(np.argmax(logits.numpy(), axis=1) == examples.y[batch])
        return np.concatenate(found)

    def probabilities(self, x: np.ndarray) -> np.ndarray:
        """float32 [N, classes] of raw examples `x` [N, …], N ≥ 1. Raises `DataError` for examples of another shape."""
        needed, given = list(self._model.input_shape[1:]), list(x.shape[1:])
        if needed != given:
            raise DataError(f"{self.path} takes examples of shape {needed}, these have {given}.")
        batches = (as_model_input(tf.constant(x[begin : begin + _BATCH])) for begin in range(0, len(x), _BATCH))
        return np.concatenate([tf.nn.softmax(self._logits(batch)).numpy() for batch in batches])

    @tf.function(reduce_retracing=True)
    def _logits(self, x: tf.Tensor) -> tf.Tensor:
        return self._model(x, training=False)
