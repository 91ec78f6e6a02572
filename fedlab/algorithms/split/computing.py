"""Computes on one side's part of the model: compiled functions that contain no weights and no data, only the layers' code."""

from __future__ import annotations

import collections
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fedlab import lowering
from fedlab.algorithms.optimizers import Optimizer
from fedlab.algorithms.split.leakage import squared_distance_correlation
from fedlab.algorithms.split.parts import Part
from fedlab.algorithms.steps import Apply, steps_of
from fedlab.tasks import Prediction
from fedlab.tasks.encoding import as_model_input

Tensors = Sequence[Any]  # tensors or arrays


class Inner:
    """A part whose output goes to the other side, and whose gradient comes back from there."""

    def __init__(self, part: Part, optimizer: Optimizer, dtype: Any = np.float32, leakage_penalty: float = 0.0):
        """`dtype`: of the part's input; uint8 images are scaled to [0, 1]. `leakage_penalty`: see `Split`."""
        self.part = part
        self._optimizer = _Descent(optimizer, part.trainable)
        self.num_trainable = len(part.trainable)
        weights, slots = _specs(part), self._optimizer.specs
        x = tf.TensorSpec([None, *part.input_shape], tf.as_dtype(dtype))
        gradient, factor = tf.TensorSpec([None, *part.output_shape], tf.float32), tf.TensorSpec([], tf.float32)

        def predict(trainable, non_trainable, x, training):
            return part.model.predict_on_batch((tuple(trainable), tuple(non_trainable)), as_model_input(x), training)

        def forward(trainable, non_trainable, x):
            return predict(trainable, non_trainable, x, True)

        def look(trainable, non_trainable, x):
            return squared_distance_correlation(as_model_input(x), predict(trainable, non_trainable, x, False))

        def backward(trainable, non_trainable, slots, factor, x, gradient):
            # Repeats the forward pass with the same key, which is cheaper than carrying a tape from one call to the next
            with tf.GradientTape() as tape:
                tape.watch([trainable, x] if x.dtype.is_floating else trainable)
                z = predict(trainable, non_trainable, x, True)
                value = tf.reduce_sum(z * gradient)
                if leakage_penalty:
                    value += leakage_penalty * squared_distance_correlation(as_model_input(x), z)
            down = [x] if x.dtype.is_floating else []
            found = tape.gradient(value, [*trainable, *down], unconnected_gradients=tf.UnconnectedGradients.ZERO)
            step = self._optimizer.step(trainable, found[: len(trainable)], slots, factor)
            return (*step, *found[len(trainable) :])

        self._forward = _compiled(forward, *weights, x)
        self._look = _compiled(look, *weights, x)
        self._backward = _compiled(backward, *weights, slots, factor, x, gradient)

    def start(self) -> list:
        """Returns the optimizer's slots before the first step."""
        return self._optimizer.start()

    def forward(self, weights: Tensors, x: Any, key: Any) -> Any:
        """Returns the output for a batch, as in training."""
        return self._forward([*weights, x], key)[0]

    def backward(self, weights: Tensors, slots: Tensors, factor: Any, x: Any, gradient: Any, key: Any) -> tuple[list, list, Any]:
        """Takes a step down the loss whose gradient with respect to the output is `gradient`. Returns new weights, new slots, and
        the gradient with respect to `x`, None for raw images.
        """
        found = self._backward([*weights, *slots, factor, x, gradient], key)
        k, end = self.num_trainable, self.num_trainable + len(slots)
        return [*found[:k], *weights[k:]], list(found[k:end]), found[end] if len(found) > end else None

    def distance_correlation(self, weights: Tensors, x: Any) -> float:
        """Returns the distance correlation of a batch and its outputs, without dropout; in [0, 1], see `leakage`."""
        return float(np.sqrt(max(0.0, float(self._look([*weights, x], np.zeros(2, np.int64))[0]))))


class Head:
    """The part that ends with the model's outputs, on the side with the targets."""

    def __init__(self, part: Part, optimizer: Optimizer, task: Prediction):
        self.part, self._task = part, task
        self._optimizer = _Descent(optimizer, part.trainable)
        self.num_trainable = len(part.trainable)
        x, factor = tf.TensorSpec([None, *part.input_shape], tf.float32), tf.TensorSpec([], tf.float32)

        def step(trainable, non_trainable, slots, factor, x, y):
            y = task.targets(y)
            with tf.GradientTape() as tape:
                tape.watch([trainable, x])
                outputs = part.model.predict_on_batch((tuple(trainable), tuple(non_trainable)), x, True)
                loss = task.objective(outputs, y)
            found = tape.gradient(loss, [*trainable, x])
            each = {"loss": task.training_losses(outputs, y), **task.counts(outputs, y)}
            self._sums = (*each, "num_examples")
            sums = [*(tf.reduce_sum(tensor, 0) for tensor in each.values()), tf.cast(tf.shape(y)[0], tf.float32)]
            return (*self._optimizer.step(trainable, found[:-1], slots, factor), found[-1], *sums)

        targets = tf.TensorSpec([None, *task.target_shape], tf.as_dtype(task.target_dtype))
        self._step = _compiled(step, *_specs(part), self._optimizer.specs, factor, x, targets)

    def start(self) -> list:
        """Returns the optimizer's slots before the first step."""
        return self._optimizer.start()

    def step(
        self, weights: Tensors, slots: Tensors, factor: Any, x: Any, y: Any, key: Any
    ) -> tuple[list, list, Any, dict[str, Any]]:
        """Takes a step down the loss. Returns new weights and slots, the gradient with respect to `x`, and the metrics' sums."""
        found = self._step([*weights, *slots, factor, x, y], key)
        k, end = self.num_trainable, self.num_trainable + len(slots)
        return [*found[:k], *weights[k:]], list(found[k:end]), found[end], dict(zip(self._sums, found[end + 1 :]))


class _Descent:
    """`steps_of` an optimizer, over flat lists of tensors: its slots pass from call to call."""

    def __init__(self, spec: Optimizer, weights: Sequence[np.ndarray]):
        self._optimizer, self._shapes = spec.build(), tuple(tf.TensorSpec(w.shape, tf.float32) for w in weights)
        self._start = tf.nest.map_structure(lambda t: tf.convert_to_tensor(t).numpy(), self._steps()[0])
        self.specs = [tf.TensorSpec(t.shape, t.dtype) for t in tf.nest.flatten(self._start)]

    def _steps(self, factor: Any = 1.0) -> tuple[collections.OrderedDict, Apply]:
        return steps_of(self._optimizer, self._optimizer.initialize(self._shapes), factor)

    def start(self) -> list:
        return list(tf.nest.flatten(self._start))

    def step(self, weights: Tensors, gradient: Tensors, slots: Tensors, factor: tf.Tensor) -> tuple:
        """Returns new weights and slots in one sequence; for use within a graph. `factor`: of the learning rate."""
        carried = tf.nest.pack_sequence_as(self._start, list(slots))
        weights, carried = self._steps(factor)[1](tuple(weights), tuple(gradient), carried)
        return (*weights, *tf.nest.flatten(carried))


def _specs(part: Part) -> tuple[list[tf.TensorSpec], list[tf.TensorSpec]]:
    trainable, non_trainable = ([tf.TensorSpec(w.shape, w.dtype) for w in ws] for ws in (part.trainable, part.non_trainable))
    return trainable, non_trainable


def _compiled(function: Callable, *specs: Any) -> Callable:
    """Returns `function` as (flat arguments, key int64 [2]) → flat results. Traced once; dropout follows the key."""
    flat = tf.nest.flatten(specs)

    @tff.tensorflow.computation(tff.types.tensorflow_to_type(flat))
    def computation(arguments):
        return function(*tf.nest.pack_sequence_as(list(specs), list(arguments)))

    loaded = lowering.load(computation)
    traced = tf.function(
        lambda arguments, key: tuple(loaded(*arguments, key=key)),
        autograph=False,
        input_signature=[flat, tf.TensorSpec([2], tf.int64)],
    ).get_concrete_function()  # because tf.function warns at every trace after the fifth, also of another part's

    def call(arguments: Tensors, key: Any) -> Sequence[tf.Tensor]:
        return traced([tf.convert_to_tensor(a, spec.dtype) for a, spec in zip(arguments, flat)], tf.convert_to_tensor(key))

    return call
