"""Model inversion (Fredrikson et al. 2015): gradient descent from noise to an image that a model assigns to a given class."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from fedlab.randomness import generator
from fedlab.studies.attacks.model_inversion import Descent

Model = Callable[[tf.Tensor], tf.Tensor]  # images [n, height, width, channels] → logits [n, classes]
_DECAYS, _EPSILON = (0.9, 0.999), 1e-8  # Adam's


@dataclasses.dataclass(frozen=True)
class Inverted:
    """An image for each class: `images` float32 [classes, height, width, channels], the best of its starts by the objective.

    `objectives`: float32 [classes, starts], the final objective of each start; `before`: the initial objectives.
    """

    images: np.ndarray
    objectives: np.ndarray
    before: np.ndarray

    @property
    def objective(self) -> np.ndarray:
        """Returns the objectives of `images`, float32 [classes]."""
        return self.objectives.min(axis=1)


def objective(model: Model, x: tf.Tensor, classes: tf.Tensor, tv_weight: tf.Tensor, l2_weight: tf.Tensor) -> tf.Tensor:
    """Returns, float32 [n], each image's cross-entropy (nats) + `tv_weight` · total variation + `l2_weight` · squared norm."""
    penalties = tv_weight * tf.image.total_variation(x) + l2_weight * tf.reduce_sum(tf.square(x), [1, 2, 3])
    return _cross_entropy(model, x, classes) + penalties


def gradient(model: Model, x: tf.Tensor, classes: tf.Tensor, tv_weight: tf.Tensor, l2_weight: tf.Tensor) -> tf.Tensor:
    """Returns the gradient of each image's `objective`: [n, height, width, channels], like `x`.

    The gradient of the penalties is written out, term by term in a fixed order. A tape sums the terms of a pixel in an order that
    depends on concurrent work, so equal attacks would not give equal bits.
    """
    with tf.GradientTape() as tape:
        tape.watch(x)
        values = _cross_entropy(model, x, classes)
    found = tape.gradient(values, x)  # per image: no image affects the objective of another
    for axis in (1, 2):
        ahead = [[0, 0]] * 4
        behind = [[0, 0]] * 4
        ahead[axis], behind[axis] = [1, 0], [0, 1]
        count = tf.shape(x)[axis] - 1
        later, earlier = tf.split(x, [1, count], axis)[1], tf.split(x, [count, 1], axis)[0]
        uphill = tf.sign(later - earlier)
        found += tv_weight * (tf.pad(uphill, ahead) - tf.pad(uphill, behind))
    return found + 2.0 * l2_weight * x


def _cross_entropy(model: Model, x: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=classes, logits=model(x))


class Inverter:
    """Attacks `model`, whose weights may change from call to call: the loop over the iterations is one graph, traced once.

    All classes and all starts are one batch. An image stays within [`low`, `high`], the range of a pixel.
    """

    def __init__(self, model: Model, shape: tuple[int, ...], low: float, high: float):
        self._model, self._shape, self._low, self._high = model, shape, low, high
        self.num_traces = 0
        scalar = tf.TensorSpec([], tf.float32)
        self._descend = tf.function(
            self._traced_descent,
            autograph=False,
            input_signature=[
                tf.TensorSpec([None, *shape], tf.float32),
                tf.TensorSpec([None], tf.int32),
                tf.TensorSpec([], tf.int32),
                scalar,
                scalar,
                scalar,
            ],
        ).get_concrete_function()

    def __call__(self, classes: np.ndarray, num_starts: int, descent: Descent, seed: int) -> Inverted:
        """Searches an image for each of `classes`, int [classes]. Equal seeds give equal start images for every model."""
        num_classes = len(classes)
        starts = start_images(num_classes * num_starts, self._shape, self._low, self._high, seed)
        targets = np.repeat(classes, num_starts).astype(np.int32)
        rates = (tf.constant(float(v)) for v in (descent.learning_rate, descent.tv_weight, descent.l2_weight))
        found = self._descend(tf.constant(starts), tf.constant(targets), tf.constant(descent.iterations), *rates)
        images, before, after = (t.numpy() for t in found)
        before, after = (o.reshape(num_classes, num_starts) for o in (before, after))
        best = np.argmin(after, axis=1)
        return Inverted(images.reshape(num_classes, num_starts, *self._shape)[np.arange(num_classes), best], after, before)

    def _traced_descent(self, x, classes, iterations, learning_rate, tv_weight, l2_weight):
        self.num_traces += 1

        def value(x):
            found = objective(self._model, x, classes, tv_weight, l2_weight)
            return tf.where(tf.math.is_finite(found), found, found.dtype.max)  # a diverged model may overflow

        def step(i, x, mean, square):
            slope = gradient(self._model, x, classes, tv_weight, l2_weight)
            slope = tf.where(tf.math.is_finite(slope), slope, 0.0)
            mean = _DECAYS[0] * mean + (1 - _DECAYS[0]) * slope
            square = _DECAYS[1] * square + (1 - _DECAYS[1]) * tf.square(slope)
            t = tf.cast(i + 1, tf.float32)
            direction = mean / (1 - _DECAYS[0] ** t) / (tf.sqrt(square / (1 - _DECAYS[1] ** t)) + _EPSILON)
            return i + 1, tf.clip_by_value(x - learning_rate * direction, self._low, self._high), mean, square

        begin = (tf.constant(0), x, tf.zeros_like(x), tf.zeros_like(x))
        _, found, _, _ = tf.while_loop(lambda i, *_: i < iterations, step, begin, parallel_iterations=1)
        return found, value(x), value(found)


def start_images(count: int, shape: tuple[int, ...], low: float, high: float, seed: int) -> np.ndarray:
    """Draws the start images of an attack: float32 [count, *shape], uniform within the range of a pixel."""
    return generator(seed, "attack start").uniform(low, high, (count, *shape)).astype(np.float32)
