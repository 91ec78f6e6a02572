"""A generator and a discriminator as pure functions of their weights, which is what a TFF process is made of."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from fedlab.errors import ConfigError
from fedlab.models.functional import KerasBuilder, as_model_input, initial_keras_model
from fedlab.models.gan import Adversaries

Tensors = Sequence[tf.Tensor]


@tf.keras.utils.register_keras_serializable("fedlab")
class BatchStatistics(tf.keras.layers.Layer):
    """Batch normalization (Ioffe & Szegedy 2015) that normalizes by its own batch, always, and has no moving averages.

    A bias per channel is learnt, no scale: another layer follows. `exported` puts Keras' own layer in its place.
    """

    epsilon = 1e-3

    def build(self, input_shape: Any) -> None:
        self.beta = self.add_weight("beta", [input_shape[-1]], initializer="zeros")

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        mean, variance = tf.nn.moments(inputs, list(range(len(inputs.shape) - 1)))
        return tf.nn.batch_normalization(inputs, mean, variance, self.beta, None, self.epsilon)


@dataclasses.dataclass(frozen=True)
class GanModel:
    """Two networks. `initial_weights`: (the discriminator's, the generator's), in order of creation.

    `generate` and `score` take weights and may be called while a graph is traced only.
    """

    initial_weights: tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]
    noise_dimension: int
    generator: KerasBuilder
    discriminator: KerasBuilder

    def noise(self, num_images: Any) -> tf.Tensor:
        """Fresh noise for so many images."""
        return tf.random.normal([num_images, self.noise_dimension])

    def generate(self, weights: Tensors, noise: tf.Tensor) -> tf.Tensor:
        """Images [n, ...] in [-1, 1] from noise [n, noise_dimension]."""
        return _called(self.generator, weights, noise)

    def score(self, weights: Tensors, images: tf.Tensor) -> tf.Tensor:
        """The discriminator's scores [n] of images [n, ...] in [-1, 1]."""
        return _called(self.discriminator, weights, images)[:, 0]

    @staticmethod
    def initialize_metrics_state() -> collections.OrderedDict:
        """Sums over examples."""
        return collections.OrderedDict((name, tf.constant(0.0)) for name in (*_SCORES, "num_examples"))

    @staticmethod
    def update_metrics_state(state: Any, num_examples: tf.Tensor, **scores: tf.Tensor) -> collections.OrderedDict:
        """With the mean `scores` of a batch added."""
        n = tf.cast(num_examples, tf.float32)
        added = {name: state[name] + n * scores[name] for name in _SCORES}
        return collections.OrderedDict(**added, num_examples=state["num_examples"] + n)

    @staticmethod
    def finalize_metrics(state: Any) -> collections.OrderedDict:
        """Means over examples; not a number where there were none."""
        n = state["num_examples"]
        return collections.OrderedDict(**{name: state[name] / n for name in _SCORES}, num_examples=n)


_SCORES = ("loss", "real_score", "generated_score", "gradient_penalty")


def as_images(x: tf.Tensor) -> tf.Tensor:
    """Raw examples as the networks take them: uint8 images become float32 in [-1, 1], floats stay as they are."""
    return as_model_input(x) * 2.0 - 1.0 if x.dtype == tf.uint8 else x


def gan_model(adversaries: Adversaries, input_shape: tuple[int, ...], seed: int) -> GanModel:
    """The two networks, with initial weights that depend on `seed` alone (an integer in [0, 2^32)). Raises `ConfigError`."""

    def generator() -> tf.keras.Model:
        return adversaries.generator(input_shape)

    def discriminator() -> tf.keras.Model:
        return adversaries.discriminator(input_shape)

    def initial(build: KerasBuilder) -> tuple[np.ndarray, ...]:
        return tuple(v.numpy() for v in _created(lambda: initial_keras_model(build, seed))[1])

    weights = initial(discriminator), initial(generator)
    model = GanModel(weights, adversaries.noise_dimension, generator, discriminator)
    with tf.Graph().as_default():
        images = model.generate(weights[1], tf.zeros([2, adversaries.noise_dimension]))
        if tuple(images.shape) != (2, *input_shape):
            raise ConfigError(f"model.generator gives images of {list(images.shape[1:])}, the data has {list(input_shape)}.")
        scores = _called(discriminator, weights[0], images)
        if tuple(scores.shape) != (2, 1):
            raise ConfigError(f"model.discriminator gives {list(scores.shape[1:])} per image, and should give one score: [1].")
    return model


def exported(build: KerasBuilder, weights: Sequence[np.ndarray]) -> tf.keras.Model:
    """A network as a Keras model, of Keras' own layers where it is a sequence. It, too, normalizes by its batch, always."""
    model, variables = _created(build)
    for variable, value in zip(variables, weights):
        variable.assign(value)
    if not isinstance(model, tf.keras.Sequential):
        return model
    inputs = outputs = tf.keras.Input(model.input_shape[1:])
    for layer in model.layers:
        if isinstance(layer, BatchStatistics):
            keras = tf.keras.layers.BatchNormalization(scale=False, epsilon=layer.epsilon)
            outputs = keras(outputs, training=True)
            keras.beta.assign(layer.beta)
        else:
            outputs = layer(outputs)
    return tf.keras.Model(inputs, outputs)


def _created(build: KerasBuilder) -> tuple[tf.keras.Model, list[tf.Variable]]:
    """A Keras model and its variables, in order of creation. Raises `ConfigError` for variables that are not trained."""
    variables = []

    def record(create: Callable, **options: Any) -> tf.Variable:
        variables.append(create(**options))
        return variables[-1]

    with tf.variable_creator_scope(record):
        model = build()
    if model.non_trainable_variables:
        raise ConfigError(
            "a network of this model has weights that are not trained, such as the moving averages of batch normalization, which "
            "cannot be federated: use fedlab.models.adversarial.BatchStatistics or layer normalization."
        )
    own = {id(v) for v in model.variables}  # the initializers have some, too
    return model, [v for v in variables if id(v) in own]


def _called(build: KerasBuilder, weights: Tensors, x: tf.Tensor) -> tf.Tensor:
    """A Keras model's output, with tensors in the places of its variables."""
    left = list(weights)
    with tf.variable_creator_scope(lambda _, **options: tf.convert_to_tensor(left.pop(0))):
        model = build()
    return model(x, training=True)
