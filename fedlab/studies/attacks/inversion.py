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

    `objectives`: float32 [classes, starts], the final objective of each start; `before`: the initial objectives. Of the kept
    starts: `shares` float32 [classes], the share of iterations in which the model takes the image for the class; `losses`
    float32 [recorded, classes], the objective after the numbers of iterations in `recorded` (int64).
    """

    images: np.ndarray
    objectives: np.ndarray
    before: np.ndarray
    shares: np.ndarray
    losses: np.ndarray
    recorded: np.ndarray

    @property
    def objective(self) -> np.ndarray:
        """Returns the objectives of `images`, float32 [classes]."""
        return self.objectives.min(axis=1)


def objective(model: Model, x: tf.Tensor, classes: tf.Tensor, tv_weight: tf.Tensor, l2_weight: tf.Tensor) -> tf.Tensor:
    """Returns, float32 [n], each image's cross-entropy (nats) + `tv_weight` · total variation + `l2_weight` · squared norm."""
    return _cross_entropy(model(x), classes) + _penalties(x, tv_weight, l2_weight)


def gradient(model: Model, x: tf.Tensor, classes: tf.Tensor, tv_weight: tf.Tensor, l2_weight: tf.Tensor) -> tf.Tensor:
    """Returns the gradient of each image's `objective`: [n, height, width, channels], like `x`.

    The gradient of the penalties is written out, term by term in a fixed order. A tape sums the terms of a pixel in an order that
    depends on concurrent work, so equal attacks would not give equal bits.
    """
    return _slope(model, x, classes, tv_weight, l2_weight)[0]


def _slope(model: Model, x: tf.Tensor, classes: tf.Tensor, tv_weight: tf.Tensor, l2_weight: tf.Tensor) -> tuple:
    """Returns (the `gradient`, the model's logits [n, classes])."""
    with tf.GradientTape() as tape:
        tape.watch(x)
        logits = model(x)
        values = _cross_entropy(logits, classes)
    found = tape.gradient(values, x)  # per image: no image affects the objective of another
    for axis in (1, 2):
        ahead = [[0, 0]] * 4
        behind = [[0, 0]] * 4
        ahead[axis], behind[axis] = [1, 0], [0, 1]
        count = tf.shape(x)[axis] - 1
        later, earlier = tf.split(x, [1, count], axis)[1], tf.split(x, [count, 1], axis)[0]
        uphill = tf.sign(later - earlier)
        found += tv_weight * (tf.pad(uphill, ahead) - tf.pad(uphill, behind))
    return found + 2.0 * l2_weight * x, logits


def _cross_entropy(logits: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=classes, logits=logits)


def _penalties(x: tf.Tensor, tv_weight: tf.Tensor, l2_weight: tf.Tensor) -> tf.Tensor:
    return tv_weight * tf.image.total_variation(x) + l2_weight * tf.reduce_sum(tf.square(x), [1, 2, 3])


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
                tf.TensorSpec([], tf.int32),
                scalar,
                scalar,
                scalar,
            ],
        ).get_concrete_function()

    def __call__(
        self,
        classes: np.ndarray,
        num_starts: int,
        descent: Descent,
        seed: int,
        target: int | None = None,
        loss_every: int | None = None,
    ) -> Inverted:
        """Searches an image for each of `classes`, int [classes], or only for the class `target`, one of them.

        Equal seeds give equal start images for every model, and for a class with or without `target`. `loss_every`: number of
        iterations from one recorded objective to the next; None records the initial and the final one.
        """
        starts = start_images(len(classes) * num_starts, self._shape, self._low, self._high, seed)
        targets = np.repeat(classes, num_starts).astype(np.int32)
        if target is not None:
            starts, targets = starts[targets == target], targets[targets == target]
        num_classes = len(targets) // num_starts
        counts = (tf.constant(descent.iterations), tf.constant(loss_every or descent.iterations))
        rates = (tf.constant(float(v)) for v in (descent.learning_rate, descent.tv_weight, descent.l2_weight))
        found = self._descend(tf.constant(starts), tf.constant(targets), *counts, *rates)
        images, after, hits, losses = (t.numpy() for t in found)
        after = after.reshape(num_classes, num_starts)
        kept = np.arange(num_classes), np.argmin(after, axis=1)
        losses = np.concatenate([losses.reshape(-1, num_classes, num_starts), after[None]])
        return Inverted(
            images=images.reshape(num_classes, num_starts, *self._shape)[kept],
            objectives=after,
            before=losses[0],
            shares=hits.reshape(num_classes, num_starts)[kept] / descent.iterations,
            losses=losses[:, kept[0], kept[1]],
            recorded=np.append(np.arange(0, descent.iterations, loss_every or descent.iterations), descent.iterations),
        )

    def _traced_descent(self, x, classes, iterations, loss_every, learning_rate, tv_weight, l2_weight):
        self.num_traces += 1

        def value(x, logits):
            found = _cross_entropy(logits, classes) + _penalties(x, tv_weight, l2_weight)
            return tf.where(tf.math.is_finite(found), found, found.dtype.max)  # a diverged model may overflow

        def step(i, x, mean, square, hits, losses):
            slope, logits = _slope(self._model, x, classes, tv_weight, l2_weight)
            hits += tf.cast(tf.equal(tf.argmax(logits, 1, tf.int32), classes), tf.float32)
            losses = tf.cond(i % loss_every == 0, lambda: losses.write(i // loss_every, value(x, logits)), lambda: losses)
            slope = tf.where(tf.math.is_finite(slope), slope, 0.0)
            mean = _DECAYS[0] * mean + (1 - _DECAYS[0]) * slope
            square = _DECAYS[1] * square + (1 - _DECAYS[1]) * tf.square(slope)
            t = tf.cast(i + 1, tf.float32)
            direction = mean / (1 - _DECAYS[0] ** t) / (tf.sqrt(square / (1 - _DECAYS[1] ** t)) + _EPSILON)
            return i + 1, tf.clip_by_value(x - learning_rate * direction, self._low, self._high), mean, square, hits, losses

        recorded = tf.TensorArray(tf.float32, (iterations - 1) // loss_every + 1)
        hits = tf.zeros_like(classes, tf.float32)
        begin = (tf.constant(0), x, tf.zeros_like(x), tf.zeros_like(x), hits, recorded)
        _, found, _, _, hits, losses = tf.while_loop(lambda i, *_: i < iterations, step, begin, parallel_iterations=1)
        return found, value(found, self._model(found)), hits, losses.stack()


def start_images(count: int, shape: tuple[int, ...], low: float, high: float, seed: int) -> np.ndarray:
    """Draws the start images of an attack: float32 [count, *shape], uniform within the range of a pixel."""
    return generator(seed, "attack start").uniform(low, high, (count, *shape)).astype(np.float32)
