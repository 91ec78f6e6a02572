"""Scores of a model on given examples, overall and per client."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fedlab import cores, lowering
from fedlab.models.functional import TaskModel
from fedlab.ragged import flat_of, grouped, sizes_of
from fedlab.tasks import Prediction
from fedlab.types import ExampleSet

# NumPy converts up to 8,192 values at a time to float64 and adds the sums of these: longer sums would not have the same bits
_SUMMED_AT_ONCE = 8192
_MOST_GATHERED = 1 << 20  # examples whose scores are gathered at a time


@dataclasses.dataclass(frozen=True)
class ExampleScores:
    """Each example's contribution to the sums of the task's metrics: `loss` float32 [N], and the task's counts [N, …]."""

    task: Prediction
    each: Mapping[str, np.ndarray]

    def summary(self, indices: np.ndarray | slice = slice(None)) -> dict[str, float]:
        """Returns the metrics over all examples, or over those at `indices`."""
        chosen = {name: values[indices] for name, values in self.each.items()}
        sums = {name: values.sum(0, dtype=np.float64) for name, values in chosen.items()}
        found = self.task.metrics({**sums, "num_examples": len(chosen["loss"])})
        return {name: float(value) for name, value in found.items()}

    def of_each(self, groups: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """Returns `summary` of each of `groups`, arrays of at least one index, to the bit: float64 [groups] by metric."""
        sizes, flat = sizes_of(groups), flat_of(groups)
        begins = np.cumsum(sizes) - sizes
        sums = {name: np.empty((len(groups), *values.shape[1:])) for name, values in self.each.items()}
        for size, places in zip(*grouped(sizes)):
            for few in np.array_split(places, -(-len(places) * int(size) // _MOST_GATHERED)):
                rows = flat[begins[few, np.newaxis] + np.arange(size)]  # [few, size]
                for name, values in self.each.items():
                    if size <= _SUMMED_AT_ONCE:
                        sums[name][few] = values[rows].astype(np.float64).sum(1)
                    else:
                        sums[name][few] = [values[row].sum(0, dtype=np.float64) for row in rows]
        return self.task.metrics_of_each({**sums, "num_examples": sizes})


class ExampleScorer:
    """Scores examples under any weights of one model. Traced only once, even if the last batch is smaller."""

    def __init__(self, model: TaskModel, dtype: np.dtype, batch_size: int):
        self._model, self._dtype, self._batch_size, self._task = model, dtype, batch_size, model.task
        self._names: tuple[str, ...] = ()

        def score(outputs: tf.Tensor, targets: tf.Tensor) -> tuple:
            each = {"loss": self._task.losses(outputs, targets), **self._task.counts(outputs, targets)}
            self._names = tuple(each)
            return tuple(each.values())

        self._score = self._of_outputs(score)

    def _of_outputs(self, function: Callable) -> Callable:
        """Returns `function(outputs, targets)` as a graph function of (weights, x, y) that returns a tuple of tensors."""
        model, task, (x_spec, y_spec) = self._model, self._task, self._model.input_spec
        weight_specs = list(model.specs)
        raw = tf.TensorSpec(x_spec.shape, tf.as_dtype(self._dtype))

        @tff.tensorflow.computation(*(tff.types.tensorflow_to_type(s) for s in (*weight_specs, raw, y_spec)))
        def computation(trainable: Any, non_trainable: Any, x: Any, y: Any) -> tuple:
            outputs = model.predict_on_batch((trainable, non_trainable), task.inputs(x), training=False)
            return function(outputs, task.targets(y))

        loaded = lowering.load(computation)
        traced = tf.function(
            # The key has no effect: with training=False dropout is left only in unused branches of the graph
            lambda weights, x, y: tuple(loaded(*weights, x, y, key=tf.zeros([2], tf.int64))),
            autograph=False,
            input_signature=[[s for specs in weight_specs for s in specs], raw, y_spec],
        )
        return traced.get_concrete_function()  # trace now, before several threads could do it at once

    @functools.cached_property
    def _predictions(self) -> Callable:
        return self._of_outputs(lambda outputs, targets: (self._task.predictions(outputs),))

    def scores(self, weights: list, examples: ExampleSet) -> ExampleScores:
        """Returns the scores of `examples`. `weights`: the model's tensors, trainable first. A NaN loss is returned as NaN."""

        def score_from(begin: int) -> list[np.ndarray]:
            batch = slice(begin, begin + self._batch_size)
            return [values.numpy() for values in self._score(weights, examples.x[batch], examples.y[batch])]

        parts = self._for_each_batch(score_from, len(examples))
        return ExampleScores(self._task, {name: np.concatenate(values) for name, values in zip(self._names, zip(*parts))})

    def predictions(self, weights: list, examples: ExampleSet, indices: np.ndarray) -> np.ndarray:
        """Returns float32 [M, …]: the predictions for the `examples` at `indices` [M], M ≥ 1. `weights` as in `scores`."""
        compute = self._predictions

        def predict_from(begin: int) -> np.ndarray:
            batch = indices[begin : begin + self._batch_size]
            return compute(weights, examples.x[batch], examples.y[batch])[0].numpy()

        return np.concatenate(self._for_each_batch(predict_from, len(indices)))

    def _for_each_batch(self, function: Callable[[int], Any], num_examples: int) -> list:
        """Returns `function(begin)` of every batch. Batches run in parallel, as clients do in a round, one thread each."""
        with concurrent.futures.ThreadPoolExecutor(cores.available()) as pool:
            return list(pool.map(function, range(0, num_examples, self._batch_size)))


def spread(values: np.ndarray, more_is_better: bool) -> dict[str, float]:
    """Returns the spread of a metric over clients, each counting once: the mean, the percentile that 1 client in 10 does not
    reach, the worst and the best."""
    percentile, worst, best = (10, values.min(), values.max()) if more_is_better else (90, values.max(), values.min())
    tenth = float(np.percentile(values, percentile))
    return {"mean": float(values.mean()), f"p{percentile}": tenth, "worst": float(worst), "best": float(best)}


def over_clients(values: np.ndarray, examples: np.ndarray, more_is_better: bool) -> dict[str, float]:
    """Returns a metric over clients: `spread` without the best; `std`, the standard deviation over clients, each counting once;
    `weighted`, the mean in which each client counts by its number of `examples`."""
    found = {name: value for name, value in spread(values, more_is_better).items() if name != "best"}
    return {**found, "std": float(values.std()), "weighted": float(np.average(values, weights=examples))}
