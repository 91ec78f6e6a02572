"""A training step of a lifted model is Keras' own: loss, gradients, batch statistics and losses of layers, for all kinds."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from fedlab.errors import ConfigError
from fedlab.models import functional, training

layers, keras = tf.keras.layers, tf.keras
SHAPE, CLASSES = (6, 6, 2), 3


def stack(*own):
    return lambda: keras.Sequential(
        [layers.InputLayer(SHAPE), *(make() for make in own), layers.Flatten(), layers.Dense(CLASSES)]
    )


def of(*arguments, **options):
    kind, *rest = arguments
    return lambda: kind(*rest, **options)


def joined(body):
    def build():
        x = keras.Input(SHAPE)
        return keras.Model(x, layers.Dense(CLASSES)(layers.Flatten()(body(x))))

    return build


def residual(x):
    h = layers.BatchNormalization()(layers.Conv2D(2, 3, padding="same", use_bias=False)(x))
    return layers.ReLU()(layers.Add()([h, layers.BatchNormalization()(layers.Conv2D(2, 1)(x))]))


def nested(x):
    inner = keras.Sequential([layers.InputLayer(SHAPE), layers.Conv2D(2, 3), layers.BatchNormalization()])
    return inner(x)


class AddsLoss(layers.Layer):
    def call(self, x, training=False):
        if training:
            self.add_loss(0.1 * tf.reduce_mean(x**2))
        return x


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.norm, self.flat, self.last = (
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dense(CLASSES, bias_regularizer="l1"),
        )

    def call(self, x, training=False):
        return self.last(self.flat(self.norm(x, training=training)))


def subclassed():
    model = Subclassed()
    model.build((None, *SHAPE))
    return model


def adapted():
    layer = layers.Normalization(axis=-1)
    layer.adapt(np.random.default_rng(0).normal(2.0, 3.0, (50, *SHAPE)))
    return keras.Sequential([layers.InputLayer(SHAPE), layer, layers.Flatten(), layers.Dense(CLASSES)])


def frozen():
    model = stack(of(layers.Conv2D, 2, 3), of(layers.BatchNormalization))()
    model.layers[0].trainable = model.layers[1].trainable = False
    return model


KINDS = {
    "batch_normalization": stack(of(layers.BatchNormalization)),
    "of_vectors": stack(of(layers.Flatten), of(layers.Dense, 4), of(layers.BatchNormalization, momentum=0.5)),
    "without_scale": stack(of(layers.BatchNormalization, scale=False, center=False)),
    "renormalized": stack(of(layers.BatchNormalization, renorm=True)),
    "residual": joined(residual),
    "nested": joined(nested),
    "subclassed": subclassed,
    "kernel_regularizer": stack(of(layers.Conv2D, 2, 3, kernel_regularizer="l2")),
    "recurrent_regularizer": stack(of(layers.Reshape, (6, 12)), of(layers.GRU, 3, recurrent_regularizer="l1")),
    "activity_regularizer": stack(of(layers.Conv2D, 2, 3, activity_regularizer="l2")),
    "activity_layer": stack(of(layers.ActivityRegularization, 0.01)),
    "add_loss": stack(of(AddsLoss)),
    "recurrent_constraint": stack(of(layers.Reshape, (6, 12)), of(layers.GRU, 3, recurrent_constraint="unit_norm")),
    "all_at_once": stack(
        of(layers.Conv2D, 2, 3, kernel_regularizer="l2", kernel_constraint="max_norm"), of(layers.BatchNormalization)
    ),
    "adapted": adapted,
    "frozen": frozen,
}


def lifted(build):
    model = functional.initial_keras_model(build, 1)
    return model, functional.functional_classifier(build, functional.keras_weights(model), SHAPE, CLASSES)


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_is_that_of_keras(kind):
    model, ours = lifted(KINDS[kind])
    rng = np.random.default_rng(2)
    x, y = tf.constant(rng.normal(size=(5, *SHAPE)), tf.float32), tf.constant(rng.integers(0, CLASSES, 5))
    weights = tf.nest.map_structure(tf.constant, functional.keras_weights(model))
    entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    @tf.function
    def our_step(trainable):
        with tf.GradientTape() as tape:
            tape.watch(trainable)
            output, statistics, penalty = ours.forward((trainable, weights[1]), x)
            loss = ours.loss(output=output, label=y) + (0.0 if penalty is None else penalty)
        return loss, tape.gradient(loss, trainable), statistics

    loss, gradient, statistics = our_step(weights[0])
    with tf.GradientTape() as tape:
        of_keras = entropy(y, model(x, training=True)) + sum(model.losses)
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)  # noqa: E731
    close(loss, of_keras)
    for a, b in zip(gradient, tape.gradient(of_keras, model.trainable_variables), strict=True):
        close(a, b)
    for a, b in zip(ours.moved(weights[1], statistics), model.non_trainable_variables, strict=True):
        close(a, b)


@pytest.mark.parametrize("kind", KINDS)
def test_the_weights_that_a_step_changes_are_known(kind):
    """A step that misses a moving average, or that averages a constant over clients, would train another model."""
    model, ours = lifted(KINDS[kind])
    before = [v.numpy() for v in model.non_trainable_variables]
    model(np.random.default_rng(3).normal(3.0, 2.0, (5, *SHAPE)).astype(np.float32), training=True)
    changed = [i for i, (a, b) in enumerate(zip(before, model.non_trainable_variables)) if not np.array_equal(a, b)]
    assert set(changed) <= set(ours.statistics)
    assert len(ours.statistics) == len(changed) or kind == "renormalized"  # some of its averages begin where they stay
    fixed = [w.nbytes for i, w in enumerate(before) if i not in ours.statistics]
    assert ours.fixed_bytes == sum(fixed)


def test_constraints_are_those_of_the_layers():
    _, ours = lifted(KINDS["all_at_once"])
    w = tf.constant(np.full((3, 3, 2, 2), 9.0), tf.float32)
    assert [c is not None for c in ours.constraints] == [True, False, False, False, False, False]
    np.testing.assert_allclose(ours.constraints[0](w), keras.constraints.MaxNorm(2)(w))


class Counts(layers.Layer):
    def build(self, _):
        self.seen = self.add_weight("seen", [], trainable=False, dtype=self.kind, initializer="zeros")

    def call(self, x, training=False):
        if training:
            self.seen.assign_add(tf.ones([], self.kind))
        return x


class CountsFloats(Counts):
    kind = "float32"


class CountsIntegers(Counts):
    kind = "int32"


class Shifts(layers.Layer):
    def build(self, _):
        self.shift = self.add_weight("shift", [])

    def call(self, x):
        self.shift.assign(self.shift * 0.5)
        return x + self.shift


class InALoop(layers.Layer):
    def build(self, _):
        self.seen = self.add_weight("seen", [], trainable=False, initializer="zeros")

    def call(self, x, training=False):
        if training:
            tf.while_loop(lambda i: i < 2, lambda i: [i + tf.cast(self.seen.assign(1.0), tf.int32)], [tf.constant(0)])
        return x


def twice(x):
    norm = layers.BatchNormalization()
    return norm(norm(x))


REFUSED = {
    "integers": (stack(of(CountsIntegers)), "a training step changes the weight .*seen.* of int32: only float32"),
    "a_trainable_weight": (stack(of(Shifts)), "a layer assigns to its trainable weight .*shift"),
    "twice": (joined(twice), "changes batch_normalization.*more than once, because its layer is called more than once"),
    "in_a_loop": (stack(of(InALoop)), "seen.* is changed inside of a loop or a branch"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_assignments_that_cannot_be_averaged_are_refused(kind):
    build, told = REFUSED[kind]
    with pytest.raises(ConfigError, match=told) as caught:
        lifted(build)
    assert "\n" not in str(caught.value)


def test_a_weight_that_counts_steps_is_averaged():
    _, ours = lifted(stack(of(CountsFloats)))
    assert ours.statistics == (0,)


def test_models_without_extras_keep_their_graph():
    """Dropout's draws depend on the place of an op in the graph."""
    _, ours = lifted(stack(of(layers.Dropout, 0.5)))
    output, statistics, penalty = ours.forward(tf.nest.map_structure(tf.constant, ours.initial_weights), tf.ones((2, *SHAPE)))
    assert (statistics, penalty) == ((), None) and output.shape == (2, CLASSES)
    assert not training.Extras()
