"""How well a classifier does on given examples, overall and client by client."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fedlab import lowering
from fedlab.models.functional import as_model_input, example_losses
from fedlab.types import ExampleSet, Partition


@dataclasses.dataclass(frozen=True)
class ExampleScores:
    """`loss` float32 [N], the cross-entropy of each example in nats; `correct` bool [N], whether its class was predicted."""

    loss: np.ndarray
    correct: np.ndarray

    def summary(self) -> dict[str, float]:
        """Mean loss and accuracy over the examples."""
        return {"loss": float(self.loss.mean(dtype=np.float64)), "accuracy": float(self.correct.mean())}


class ClassifierEvaluator:
    """Scores examples under any weights of one model. Traced once, also where the last batch is short."""

    def __init__(self, model: tff.learning.models.FunctionalModel, dtype: np.dtype, batch_size: int):
        self._model, self._dtype, self._batch_size = model, dtype, batch_size

        def score(logits, y):
            return example_losses(logits, y), tf.equal(tf.argmax(logits, 1, tf.int32), y)

        self._score = self._of_logits(score)

    def _of_logits(self, function: Callable) -> Callable:
        """`function(logits, y)` as a graph function of (weights, x, y), which returns a tuple of tensors."""
        model, (x_spec, y_spec) = self._model, self._model.input_spec
        weight_specs = [tuple(tf.TensorSpec(np.shape(w), np.float32) for w in ws) for ws in model.initial_weights]
        raw = tf.TensorSpec(x_spec.shape, tf.as_dtype(self._dtype))

        @tff.tensorflow.computation(*(tff.types.tensorflow_to_type(s) for s in (*weight_specs, raw, y_spec)))
        def computation(trainable, non_trainable, x, y):
            return function(model.predict_on_batch((trainable, non_trainable), as_model_input(x), training=False), y)

        loaded = lowering.load(computation)
        traced = tf.function(
            # The key decides nothing: with training=False no dropout is left but in branches of the graph that lead nowhere
            lambda weights, x, y: tuple(loaded(*weights, x, y, key=tf.zeros([2], tf.int64))),
            autograph=False,
            input_signature=[[s for specs in weight_specs for s in specs], raw, y_spec],
        )
        return traced.get_concrete_function()  # now, where no two threads can trace it at once

    @functools.cached_property
    def _probabilities(self) -> Callable:
        return self._of_logits(lambda logits, y: (tf.nn.softmax(logits),))

    def scores(self, weights: list, examples: ExampleSet) -> ExampleScores:
        """`weights`: the model's tensors, trainable first. Raises nothing on NaN: a NaN loss is returned as it is."""

        def score_from(begin: int) -> tuple[np.ndarray, np.ndarray]:
            batch = slice(begin, begin + self._batch_size)
            loss, correct = self._score(weights, examples.x[batch], examples.y[batch])
            return loss.numpy(), correct.numpy()

        parts = self._for_each_batch(score_from, len(examples))
        return ExampleScores(np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts]))

    def probabilities(self, weights: list, examples: ExampleSet, indices: np.ndarray) -> np.ndarray:
        """float32 [M, classes]: what the model thinks of the `examples` at `indices` [M], M ≥ 1. `weights` as in `scores`."""
        compute = self._probabilities

        def predict_from(begin: int) -> np.ndarray:
            batch = indices[begin : begin + self._batch_size]
            return compute(weights, examples.x[batch], examples.y[batch])[0].numpy()

        return np.concatenate(self._for_each_batch(predict_from, len(indices)))

    def _for_each_batch(self, function: Callable[[int], Any], num_examples: int) -> list:
        """`function(begin)` of every batch. A round keeps the cores busy with clients, one thread each; here it is batches."""
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            return list(pool.map(function, range(0, num_examples, self._batch_size)))


def client_accuracies(scores: ExampleScores, partition: Partition) -> np.ndarray:
    """float64 [clients]: accuracy on each client's own examples; `scores` are those of the whole training set."""
    return np.array([scores.correct[indices].mean() for indices in partition.indices])


def client_losses(scores: ExampleScores, partition: Partition) -> np.ndarray:
    """float64 [clients]: mean loss in nats on each client's own examples; `scores` are those of the whole training set."""
    return np.array([scores.loss[indices].mean(dtype=np.float64) for indices in partition.indices])


def client_summary(accuracies: np.ndarray) -> dict[str, float]:
    """Mean, 10th percentile and worst of the clients' accuracies, each client counting once."""
    return {
        "client_accuracy_mean": float(accuracies.mean()),
        "client_accuracy_p10": float(np.percentile(accuracies, 10)),
        "client_accuracy_worst": float(accuracies.min()),
    }
