"""Keras models written by users in ways that ours are not."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from fedlab.errors import ConfigError
from fedlab.models import functional


def lifted(build):
    weights = functional.keras_weights(functional.initial_keras_model(build, 1))
    return functional.functional_classifier(build, weights, (5,), 5), weights


def test_a_subclassed_model_works(logits_of, lab):
    class Subclassed(tf.keras.Model):
        def __init__(self):
            super().__init__()
            self.hidden, self.last = tf.keras.layers.Dense(4, activation="relu"), tf.keras.layers.Dense(5)

        def call(self, x, training=False):
            return self.last(self.hidden(x))

    def build():
        model = Subclassed()
        model.build((None, 5))
        return model

    x = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)
    logits = functional.initial_keras_model(build, 1)(x).numpy()
    model, weights = lifted(build)
    assert lab.distance([logits_of(model, weights, x)], [logits]) < 1e-6  # eager and graph may fuse differently: 2⁻²⁴ a step


class Branch(tf.keras.Model):
    """A call without `training`, and one with `mask` before it: Keras gives each what it takes."""

    def __init__(self, lazy=False):
        super().__init__()
        self.first, self.last = tf.keras.layers.Dense(4), tf.keras.layers.Dense(5)
        self.lazy = lazy

    def call(self, x, mask=None, training=False):
        assert mask is None
        return self.last(self.first(x)) if training or not self.lazy else self.last(x)


def test_a_weight_that_training_alone_would_make_is_refused():
    """It would be none of the process's: never initialized, never trained."""

    def build():
        model = Branch(lazy=True)
        model.last.build((None, 4))
        model.first.build((None, 5))
        model.built = True
        model.extra = tf.keras.layers.Dense(3)
        model.call = lambda x, training=False: model.last(model.first(x)) + (tf.reduce_sum(model.extra(x)) if training else 0.0)
        return model

    with pytest.raises(ConfigError, match=r"makes the weight .*kernel.* when it is called") as caught:
        lifted(build)
    assert "\n" not in str(caught.value)


def test_training_is_told_by_name(logits_of):
    def build():
        model = Branch()
        model.build((None, 5))
        return model

    x = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)
    model, weights = lifted(build)
    expected = functional.initial_keras_model(build, 1)(x).numpy()
    assert np.allclose(logits_of(model, weights, x, training=True), expected, atol=1e-5)


def test_a_builder_whose_builds_differ_serves_once(logits_of):
    """Two branches of equal shape, made in turns one way and the other, so that no order is right: one is copied."""
    turns = []

    def build():
        turns.append(None)
        x = tf.keras.Input((5,))
        makers = [lambda: tf.keras.layers.Dense(5, "relu")(x), lambda: tf.keras.layers.Dense(5, "tanh")(x)]
        joined = [make() for make in makers[:: 1 if len(turns) < 3 else -1]]
        return tf.keras.Model(x, tf.keras.layers.Dense(5)(tf.keras.layers.Concatenate()(joined)))

    keras, x = functional.initial_keras_model(build, 1), np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)
    model = functional.functional_classifier(build, functional.keras_weights(keras), (5,), 5)
    weights = tuple(np.random.default_rng(1).normal(size=w.shape).astype(np.float32) for w in keras.get_weights())
    functional.set_keras_weights(keras, (weights, ()))
    assert len(turns) > 2
    assert np.allclose(logits_of(model, (weights, ()), x), keras(x).numpy(), atol=1e-4)


@pytest.mark.parametrize("frozen", [False, True])
def test_a_model_read_from_a_file_may_be_a_part_of_another(logits_of, tmp_path, frozen):
    """Transfer learning: a base with weights of its own, under a new head."""
    x, path = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32), tmp_path / "base.keras"
    tf.keras.Sequential([tf.keras.Input((5,)), tf.keras.layers.Dense(7, "relu")]).save(path)

    def build():
        base = tf.keras.models.load_model(path, compile=False)
        base.trainable = not frozen
        inputs = tf.keras.Input((5,))
        return tf.keras.Model(inputs, tf.keras.layers.Dense(5)(base(inputs)))

    keras = functional.initial_keras_model(build, 1)
    assert np.array_equal(keras.layers[1].get_weights()[0], tf.keras.models.load_model(path, compile=False).get_weights()[0])
    model, weights = lifted(build)
    assert len(weights[1]) == (2 if frozen else 0)
    assert np.allclose(logits_of(model, weights, x), keras(x).numpy(), atol=1e-5)
