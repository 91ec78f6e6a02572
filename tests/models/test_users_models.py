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


def test_weights_of_equal_shape_in_another_order_are_an_error_too():
    """Keras lists the two branches as they are joined, TFF as they were created: training would swap their weights."""

    def build():
        x = tf.keras.Input((5,))
        a, b = tf.keras.layers.Dense(5, activation="relu"), tf.keras.layers.Dense(5, activation="tanh")
        b_first = b(x)
        joined = tf.keras.layers.Concatenate()([a(x), b_first])
        return tf.keras.Model(x, tf.keras.layers.Dense(5)(joined))

    with pytest.raises(ConfigError, match="create them in order of use"):
        lifted(build)


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


@pytest.mark.parametrize("nested", [False, True])
def test_batch_normalisation_is_an_error(nested):
    """Its running statistics cannot be updated by a function of the weights."""

    def build():
        normalised = tf.keras.Sequential([tf.keras.layers.InputLayer(input_shape=(5,)), tf.keras.layers.BatchNormalization()])
        return tf.keras.Sequential(
            [tf.keras.Input((5,)), *([normalised] if nested else normalised.layers), tf.keras.layers.Dense(5)]
        )

    with pytest.raises(ConfigError, match=r"(?i)batch normali[sz]ation") as caught:
        lifted(build)
    assert "\n" not in str(caught.value)
