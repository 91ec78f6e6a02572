"""The networks: their sizes as published, their export to Keras, and what a mistake is told."""

from __future__ import annotations

import types

import numpy as np
import pytest
import tensorflow as tf

from fedlab.algorithms import DpSgd, LocalTraining
from fedlab.algorithms import Gan as GanProcess
from fedlab.errors import ConfigError
from fedlab.models import Adversaries, Gan, Mlp
from fedlab.models.adversarial import exported, gan_model
from fedlab.run.rules import check_model
from tests.algorithms.gan.conftest import SHAPE, SMALL

IMAGE = (28, 28, 1)


def sizes(network):
    return [tuple(w.shape) for w in network.trainable_variables]


def test_the_published_networks():
    """Layer by layer: kernels, and biases where no normalization follows, which has a bias of its own and no scale."""
    generator, discriminator = Gan()(IMAGE, 10)
    assert sizes(discriminator) == [
        *[(4, 4, 1, 64), (64,), (4, 4, 64, 128), (128,)],
        *[(7 * 7 * 128, 1024), (1024,), (1024, 1), (1,)],
    ]
    assert sizes(generator) == [
        *[(128, 1024), (1024,), (1024, 7 * 7 * 256), (7 * 7 * 256,)],
        *[(4, 4, 64, 256), (64,), (4, 4, 32, 64), (32,), (4, 4, 32, 1), (1,)],
    ]
    assert generator.output_shape == (None, *IMAGE) and discriminator.output_shape == (None, 1)
    assert not generator.non_trainable_variables and not discriminator.non_trainable_variables


def test_a_network_means_the_same_in_keras_and_as_an_exported_file(tmp_path):
    """The file is read without fedlab's layers, and normalizes by the batch at hand also when it only predicts."""
    model = gan_model(Gan(**SMALL), SHAPE, 0)
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=w.shape).astype(np.float32) for w in model.initial_weights[1]]
    noise = rng.normal(size=(9, model.noise_dimension)).astype(np.float32)
    images = tf.function(lambda: model.generate([tf.constant(w) for w in weights], noise))().numpy()
    exported(model.generator, weights).save(tmp_path / "generator.keras")
    loaded = tf.keras.models.load_model(tmp_path / "generator.keras")
    assert {type(layer).__module__.split(".")[0] for layer in loaded.layers} == {"keras"}
    np.testing.assert_allclose(loaded(noise).numpy(), images, atol=1e-5)
    np.testing.assert_allclose(loaded.predict(noise, verbose=0), images, atol=1e-5)
    assert np.abs(images).max() <= 1 and images.std() > 0.1


def test_initial_weights_follow_the_seed_alone(lab):
    first, again, other = (gan_model(Gan(**SMALL), SHAPE, seed).initial_weights for seed in (0, 0, 1))
    assert lab.same_bits([*first[0], *first[1]], [*again[0], *again[1]])
    assert not lab.same_bits([*first[0]], [*other[0]])


class WithMovingAverages(Adversaries):
    def generator(self, input_shape):
        layers = tf.keras.layers
        dense = layers.Dense(int(np.prod(input_shape)))
        return tf.keras.Sequential([layers.InputLayer((128,)), dense, layers.BatchNormalization(), layers.Reshape(input_shape)])

    def discriminator(self, input_shape):
        layers = tf.keras.layers
        return tf.keras.Sequential([layers.InputLayer(input_shape), layers.Flatten(), layers.Dense(1)])


class OfTwoScores(WithMovingAverages):
    def generator(self, input_shape):
        layers = tf.keras.layers
        return tf.keras.Sequential([layers.InputLayer((128,)), layers.Dense(16), layers.Reshape(input_shape)])

    def discriminator(self, input_shape):
        layers = tf.keras.layers
        return tf.keras.Sequential([layers.InputLayer(input_shape), layers.Flatten(), layers.Dense(2)])


def stages(client):
    return types.SimpleNamespace(client=client)


@pytest.mark.parametrize(
    ("build", "told"),
    [
        (lambda: gan_model(Gan(), (30, 28, 1), 0), "sides that can be divided by 4, and the data has 30×28"),
        (lambda: gan_model(Gan(), (28, 28), 0), r"the data has \[28, 28\]: give x a last axis"),
        (lambda: gan_model(WithMovingAverages(), SHAPE, 0), "non-trainable weights"),
        (lambda: gan_model(OfTwoScores(), SHAPE, 0), r"model.discriminator returns \[2\] per image"),
        (lambda: check_model(True, Mlp()), "use model=gan_small"),
        (lambda: check_model(False, Gan()), "use process=gan"),
        (lambda: GanProcess().check(stages(DpSgd())), "privacy=gaussian_fixed"),
        (lambda: GanProcess().check(stages(LocalTraining(weight_noise=0.1))), "privacy=gaussian_fixed"),
    ],
)
def test_mistakes_are_told(build, told):
    with pytest.raises(ConfigError, match=told):
        build()
