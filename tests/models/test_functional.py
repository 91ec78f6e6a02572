"""A Keras model lifted to a function of its weights computes the same, and starts from the seed alone."""

from __future__ import annotations

import random

import numpy as np
import pytest
import tensorflow as tf

from fedlab.errors import ConfigError
from fedlab.models import Cnn, Mlp, Perceptron, functional
from fedlab.tasks import Classification
from fedlab.tasks.encoding import as_model_input

SHAPE, CLASSES = (8, 8, 1), 4
MODELS = [
    Perceptron(),
    Mlp(hidden=(9, 7)),
    Mlp(hidden=(9,), dropout=0.5),
    Mlp(hidden=(9,), mean=0.5, std=0.5),
    Cnn(filters=(3,), hidden=(6,)),
    Cnn(filters=(2, 3), padding="same"),
]


def builder(model):
    return lambda: model(SHAPE, CLASSES)


def images(n=13):
    return np.random.default_rng(0).random((n, *SHAPE), np.float32)


def lifted(build, seed=1, shape=SHAPE):
    weights = functional.keras_weights(functional.initial_keras_model(build, seed))
    return functional.functional_classifier(build, weights, shape, CLASSES), weights


@pytest.mark.parametrize("model", MODELS, ids=repr)
def test_logits_are_exactly_those_of_keras(logits_of, model):
    x, build = images(), builder(model)
    keras = functional.initial_keras_model(build, 1)
    # Also at weights that are not the initial ones, whose biases are all zero
    rng = np.random.default_rng(1)
    other = tuple(tuple(rng.normal(size=w.shape).astype(np.float32) for w in ws) for ws in functional.keras_weights(keras))
    expected = []
    for weights in (functional.keras_weights(keras), other):
        functional.set_keras_weights(keras, weights)
        expected.append((weights, tf.function(keras)(x, training=False).numpy()))
    model, _ = lifted(build)
    for weights, logits in expected:
        assert np.array_equal(logits_of(model, weights, x), logits)


def test_dropout_drops_in_training_only_and_keeps_the_mean(logits_of):
    rate, width = 0.4, 4_000
    # One input of 1, all weights 1: each of the hidden units is 1, and what is left after dropout is scaled by 1/(1 − rate)
    build = lambda: Mlp(hidden=(width,), dropout=rate)((1,), CLASSES)  # noqa: E731
    model, weights = lifted(build, shape=(1,))
    ones = tuple(np.ones_like(w) if w.ndim == 2 else w for w in weights[0]), weights[1]
    x = np.ones((50, 1), np.float32)
    assert np.array_equal(logits_of(model, ones, x), np.full((50, CLASSES), width))
    trained = logits_of(model, ones, x, training=True)[:, 0]
    kept = trained * (1 - rate)  # binomial(width, 1 − rate) of each example
    assert len(np.unique(kept)) > 10
    standard_error = np.sqrt(width * rate * (1 - rate) / len(x))
    assert abs(kept.mean() - width * (1 - rate)) < 5 * standard_error
    assert not np.array_equal(trained, logits_of(model, ones, x, training=True, key=(0, 1))[:, 0])


class TestInitialWeights:
    @staticmethod
    def of(seed, model=MODELS[1]):
        return [w for ws in functional.keras_weights(functional.initial_keras_model(builder(model), seed)) for w in ws]

    @pytest.mark.parametrize("model", MODELS, ids=repr)
    def test_depend_on_the_seed_alone(self, lab, model):
        first = self.of(5, model)
        np.random.seed(99)
        random.seed(99)
        tf.random.set_seed(99)
        tf.random.uniform([3])
        assert lab.same_bits(first, self.of(5, model))
        kernels = [(a, b) for a, b in zip(first, self.of(6, model)) if a.ndim > 1]
        assert kernels and all(np.abs(a - b).max() > 0.01 for a, b in kernels)

    @pytest.mark.parametrize("seed", [0, 2**32 - 1])
    def test_every_seed_is_a_seed(self, lab, seed):
        assert lab.same_bits(self.of(seed), self.of(seed))
        assert not lab.same_bits(self.of(seed), self.of(1))

    def test_leave_the_global_generators_as_they_were(self):
        np.random.seed(7)
        random.seed(7)
        expected = np.random.random(3).tolist(), random.random()
        np.random.seed(7)
        random.seed(7)
        self.of(1)
        assert (np.random.random(3).tolist(), random.random()) == expected

    def test_leave_the_global_generators_as_they_were_after_an_error(self):
        def build():
            raise ConfigError("no model")

        random.seed(7)
        state = random.getstate()
        with pytest.raises(ConfigError, match="no model"):
            functional.initial_keras_model(build, 1)
        assert random.getstate() == state


def my_model(input_shape, num_classes, width=6):
    """What a user writes in their own module."""
    image = tf.keras.Input(input_shape)
    hidden = tf.keras.layers.Dense(width, activation="tanh")(tf.keras.layers.Flatten()(image))
    wide = tf.keras.layers.Concatenate()([hidden, tf.keras.layers.Flatten()(image)])
    return tf.keras.Model(image, tf.keras.layers.Dense(num_classes)(wide))


def test_a_users_function_is_a_model_like_another(lab, logits_of):
    x, build = images(), lambda: my_model(SHAPE, CLASSES)
    keras = functional.initial_keras_model(build, 1)
    logits = keras(x, training=False).numpy()
    model, weights = lifted(build)
    assert lab.distance([logits_of(model, weights, x)], [logits]) < 1e-6  # eager and graph may fuse differently: 2⁻²⁴ a step
    trained = lab.trainer(model=my_model).run(lab.inputs(2))
    losses = [m["client_work/train/loss"] for m in trained.metrics]
    assert losses[1] < losses[0]


class TestErrors:
    def test_of_an_output_that_fits_no_labels(self):
        with pytest.raises(ConfigError, match=r"returns \(None, 5\), but 4 classes need logits of shape \(None, 4\)") as caught:
            lifted(lambda: Mlp()(SHAPE, 5))
        assert "\n" not in str(caught.value)

    def test_of_an_output_with_another_rank(self):
        def build():
            return tf.keras.Sequential([tf.keras.layers.InputLayer(input_shape=SHAPE), tf.keras.layers.Dense(CLASSES)])

        with pytest.raises(ConfigError, match="need logits of shape") as caught:
            lifted(build)
        assert "\n" not in str(caught.value)

    def test_layers_may_be_created_in_another_order_than_called(self, logits_of):
        def build():
            image = tf.keras.Input(SHAPE)
            last, first = tf.keras.layers.Dense(CLASSES), tf.keras.layers.Dense(7)
            first.build((None, 64))
            last.build((None, 7))
            flat = tf.keras.layers.Flatten()(image)
            return tf.keras.Model(image, last(first(flat)))

        def turned():
            image = tf.keras.Input(SHAPE)
            last, first = tf.keras.layers.Dense(CLASSES), tf.keras.layers.Dense(7)
            last.build((None, 7))
            first.build((None, 64))
            flat = tf.keras.layers.Flatten()(image)
            return tf.keras.Model(image, last(first(flat)))

        x = images()
        for model_of in (build, turned):
            expected = functional.initial_keras_model(model_of, 1)(x).numpy()
            assert np.allclose(logits_of(*lifted(model_of), x), expected, atol=1e-5)


def test_uint8_becomes_the_unit_interval_and_floats_stay():
    scaled = as_model_input(tf.constant([0, 51, 255], tf.uint8)).numpy()
    assert scaled.dtype == np.float32 and np.allclose(scaled, [0, 0.2, 1], rtol=1e-6)
    assert as_model_input(tf.constant([-3.0, 300.0])).numpy().tolist() == [-3.0, 300.0]


def test_loss_is_the_cross_entropy_in_nats():
    logits = np.array([[2.0, -1.0, 0.5], [0.0, 0.0, 0.0]], np.float32)
    losses = Classification(num_classes=3).losses(tf.constant(logits), tf.constant([2, 1])).numpy()
    assert np.allclose(losses, [np.log(np.exp(logits[0]).sum()) - 0.5, np.log(3)], rtol=1e-6)
