"""What a side computes on its part of the model: compiled functions that hold no weights and no data, only the layers' code."""

from __future__ import annotations

import collections
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fedlab import lowering
from fedlab.models.functional import as_model_input, example_losses
from fedlab.process.optimizers import Optimizer
from fedlab.split.leakage import squared_distance_correlation
from fedlab.split.parts import Part

Tensors = Sequence[Any]  # tensors or arrays


class Inner:
    """A part whose output goes on to the other side, and whose gradient comes back from there."""

    def __init__(self, part: Part, optimizer: Optimizer, dtype: Any = np.float32, leakage_penalty: float = 0.0):
        """`dtype`: of the part's input; uint8 images are scaled to [0, 1]. `leakage_penalty`: see `fedlab.split.Split`."""
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
            # The forward pass once more, with the same key: cheaper than carrying a tape from one call to the next
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
        """The optimizer's slots before the first step."""
        return self._optimizer.start()

    def forward(self, weights: Tensors, x: Any, key: Any) -> Any:
        """The output for a batch, as in training."""
        return self._forward([*weights, x], key)[0]

    def backward(self, weights: Tensors, slots: Tensors, factor: Any, x: Any, gradient: Any, key: Any) -> tuple[list, list, Any]:
        """A step down the loss whose gradient with respect to the output is `gradient`: new weights, new slots, and the gradient
        with respect to `x`, None for raw images.
        """
        found = self._backward([*weights, *slots, factor, x, gradient], key)
        k, end = self.num_trainable, self.num_trainable + len(slots)
        return [*found[:k], *weights[k:]], list(found[k:end]), found[end] if len(found) > end else None

    def distance_correlation(self, weights: Tensors, x: Any) -> float:
        """Between a batch of inputs and their outputs, without dropout; in [0, 1], see `fedlab.split.leakage`."""
        return float(np.sqrt(max(0.0, float(self._look([*weights, x], np.zeros(2, np.int64))[0]))))


class Head:
    """The part that ends with the logits, on the side that has the labels."""

    def __init__(self, part: Part, optimizer: Optimizer):
        self.part = part
        self._optimizer = _Descent(optimizer, part.trainable)
        self.num_trainable = len(part.trainable)
        x, factor = tf.TensorSpec([None, *part.input_shape], tf.float32), tf.TensorSpec([], tf.float32)

        def step(trainable, non_trainable, slots, factor, x, y):
            with tf.GradientTape() as tape:
                tape.watch([trainable, x])
                logits = part.model.predict_on_batch((tuple(trainable), tuple(non_trainable)), x, True)
                losses = example_losses(logits, y)
                loss = tf.reduce_mean(losses)
            found = tape.gradient(loss, [*trainable, x])
            correct = tf.reduce_sum(tf.cast(tf.equal(tf.argmax(logits, 1, tf.int32), y), tf.float32))
            return (*self._optimizer.step(trainable, found[:-1], slots, factor), found[-1], tf.reduce_sum(losses), correct)

        self._step = _compiled(step, *_specs(part), self._optimizer.specs, factor, x, tf.TensorSpec([None], tf.int32))

    def start(self) -> list:
        """The optimizer's slots before the first step."""
        return self._optimizer.start()

    def step(
        self, weights: Tensors, slots: Tensors, factor: Any, x: Any, y: Any, key: Any
    ) -> tuple[list, list, Any, tuple[Any, Any]]:
        """A step down the mean loss: new weights, new slots, the gradient with respect to `x`, and (sum of losses, correct)."""
        found = self._step([*weights, *slots, factor, x, y], key)
        k, end = self.num_trainable, self.num_trainable + len(slots)
        return [*found[:k], *weights[k:]], list(found[k:end]), found[end], (found[end + 1], found[end + 2])


class _Descent:
    """A TFF optimizer over flat lists of tensors. What does not change from step to step is no slot."""

    def __init__(self, spec: Optimizer, weights: Sequence[np.ndarray]):
        self._optimizer, self._shapes = spec.build(), tuple(tf.TensorSpec(w.shape, tf.float32) for w in weights)
        self._start = tf.nest.map_structure(lambda t: tf.convert_to_tensor(t).numpy(), self._carried())
        self.specs = [tf.TensorSpec(t.shape, t.dtype) for t in tf.nest.flatten(self._start)]

    def _carried(self) -> Any:
        state = self._optimizer.initialize(self._shapes)
        fixed = self._optimizer.get_hparams(state)
        return collections.OrderedDict((k, v) for k, v in state.items() if k not in fixed)

    def start(self) -> list:
        return list(tf.nest.flatten(self._start))

    def step(self, weights: Tensors, gradient: Tensors, slots: Tensors, factor: tf.Tensor) -> tuple:
        """New weights and slots, end to end; for use within a graph. `factor`: of the learning rate."""
        state = self._optimizer.initialize(self._shapes)
        # Tensors, because TFF's Adam raises a float beta to the power of its int step only if it is one
        hparams = tf.nest.map_structure(tf.convert_to_tensor, self._optimizer.get_hparams(state))
        hparams[tff.learning.optimizers.LEARNING_RATE_KEY] *= factor
        carried = tf.nest.pack_sequence_as(self._start, list(slots))
        state = collections.OrderedDict((k, carried[k] if k in carried else hparams[k]) for k in state)
        state, weights = self._optimizer.next(state, tuple(weights), tuple(gradient))
        return (*weights, *tf.nest.flatten(collections.OrderedDict((k, state[k]) for k in carried)))


def _specs(part: Part) -> tuple[list[tf.TensorSpec], list[tf.TensorSpec]]:
    trainable, non_trainable = ([tf.TensorSpec(w.shape, w.dtype) for w in ws] for ws in (part.trainable, part.non_trainable))
    return trainable, non_trainable


def _compiled(function: Callable, *specs: Any) -> Callable:
    """`function` as (flat arguments, key int64 [2]) → flat results. Traced once; dropout follows the key."""
    flat = tf.nest.flatten(specs)

    @tff.tensorflow.computation(tff.types.tensorflow_to_type(flat))
    def computation(arguments):
        return function(*tf.nest.pack_sequence_as(list(specs), list(arguments)))

    loaded = lowering.load(computation)
    traced = tf.function(
        lambda arguments, key: tuple(loaded(*arguments, key=key)),
        autograph=False,
        input_signature=[flat, tf.TensorSpec([2], tf.int64)],
    ).get_concrete_function()  # not the function, which warns of every trace after the fifth, also of another part's

    def call(arguments: Tensors, key: Any) -> Sequence[tf.Tensor]:
        return traced([tf.convert_to_tensor(a, spec.dtype) for a, spec in zip(arguments, flat)], tf.convert_to_tensor(key))

    return call
