"""A generator and a discriminator as pure functions of their weights, as a TFF process needs them."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from fedlab.errors import ConfigError
from fedlab.models.checks import check_network, check_plain
from fedlab.models.functional import try_out
from fedlab.models.gan import Adversaries
from fedlab.models.lifting import Applied, KerasBuilder, Network, built, check_initial_weights, listed, network, seeded
from fedlab.tasks.encoding import as_model_input

Tensors = Sequence[tf.Tensor]


@tf.keras.utils.register_keras_serializable("fedlab")
class BatchStatistics(tf.keras.layers.Layer):
    """Batch normalization (Ioffe & Szegedy 2015) that always normalizes by its own batch and has no moving averages.

    It has a bias per channel and no scale, because another layer follows. `exported` replaces it by Keras' own layer.
    """

    epsilon = 1e-3

    def build(self, input_shape: Any) -> None:
        self.beta = self.add_weight("beta", [input_shape[-1]], initializer="zeros")

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        mean, variance = tf.nn.moments(inputs, list(range(len(inputs.shape) - 1)))
        return tf.nn.batch_normalization(inputs, mean, variance, self.beta, None, self.epsilon)


@dataclasses.dataclass(frozen=True)
class Adversary:
    """One of the networks. Its weights are in order of creation, as in earlier runs."""

    network: Network

    @property
    def model(self) -> tf.keras.Model:
        return self.network.model

    @property
    def weights(self) -> tuple[np.ndarray, ...]:
        """The weights of `model`, in order of creation."""
        own = listed(self.model)
        return tuple(own[place].numpy() for place in self.network.order)

    def __call__(self, weights: Tensors, x: Any) -> Any:
        """Returns the output in training, in a graph. `weights`: in order of creation."""
        in_place = {place: tf.convert_to_tensor(weight) for place, weight in zip(self.network.order, weights)}
        return self.network([in_place[place] for place in range(len(in_place))], x, True)


@dataclasses.dataclass(frozen=True)
class GanModel:
    """Two networks. `initial_weights`: (the discriminator's, the generator's), in the order of `Adversary`.

    `generate` and `score` take weights, and may be called only while a graph is traced.
    """

    # As `TaskModel` has them
    statistics: ClassVar[tuple[int, ...]] = ()
    constraints: ClassVar[tuple] = ()
    fixed_bytes: ClassVar[int] = 0

    initial_weights: tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]
    noise_dimension: int
    generator: Adversary
    discriminator: Adversary

    def noise(self, num_images: Any) -> tf.Tensor:
        """Draws noise for `num_images` images."""
        return tf.random.normal([num_images, self.noise_dimension])

    def generate(self, weights: Tensors, noise: tf.Tensor) -> tf.Tensor:
        """Generates images [n, ...] in [-1, 1] from noise [n, noise_dimension]."""
        return self.generator(weights, noise)

    def score(self, weights: Tensors, images: tf.Tensor) -> tf.Tensor:
        """Returns the discriminator's scores [n] of images [n, ...] in [-1, 1]."""
        return self.discriminator(weights, images)[:, 0]

    @staticmethod
    def initialize_metrics_state() -> collections.OrderedDict:
        """Returns sums over no examples."""
        return collections.OrderedDict((name, tf.constant(0.0)) for name in (*_SCORES, "num_examples"))

    @staticmethod
    def update_metrics_state(state: Any, num_examples: tf.Tensor, **scores: tf.Tensor) -> collections.OrderedDict:
        """Adds the mean `scores` of a batch."""
        n = tf.cast(num_examples, tf.float32)
        added = {name: state[name] + n * scores[name] for name in _SCORES}
        return collections.OrderedDict(**added, num_examples=state["num_examples"] + n)

    @staticmethod
    def finalize_metrics(state: Any) -> collections.OrderedDict:
        """Returns means over examples; NaN without examples."""
        n = state["num_examples"]
        return collections.OrderedDict(**{name: state[name] / n for name in _SCORES}, num_examples=n)


_SCORES = ("loss", "real_score", "generated_score", "gradient_penalty")


def as_images(x: tf.Tensor) -> tf.Tensor:
    """Converts raw examples to the networks' input: uint8 images become float32 in [-1, 1], floats stay unchanged."""
    return as_model_input(x) * 2.0 - 1.0 if x.dtype == tf.uint8 else x


def gan_model(adversaries: Adversaries, input_shape: tuple[int, ...], seed: int) -> GanModel:
    """Builds both networks, with initial weights that depend only on `seed` (an integer in [0, 2^32)). Raises `ConfigError`."""

    noise = (adversaries.noise_dimension,)
    generator = _adversary(
        lambda: adversaries.generator(input_shape),
        seed,
        noise,
        input_shape,
        lambda given: f"model.generator returns images of {given}; it must return those of the data: {list(input_shape)}.",
    )
    discriminator = _adversary(
        lambda: adversaries.discriminator(input_shape),
        seed,
        input_shape,
        (1,),
        lambda given: f"model.discriminator returns {given} per image; it must return one score: [1].",
    )
    return GanModel((discriminator.weights, generator.weights), adversaries.noise_dimension, generator, discriminator)


def _adversary(
    build: KerasBuilder, seed: int, takes: tuple[int, ...], gives: tuple[int, ...], problem: Callable[[list], str]
) -> Adversary:
    """Returns the network of a builder. `takes`, `gives`: its input and output shapes, without the batch. `problem`: the error
    for another output shape."""
    build_seeded = seeded(build, seed)
    model, order = built(build_seeded)
    check_initial_weights(build_seeded, model)
    if model.non_trainable_variables:
        raise ConfigError(
            "a network of this model has non-trainable weights, such as the moving averages of batch normalization, which "
            "cannot be federated: use fedlab.models.adversarial.BatchStatistics or layer normalization."
        )
    check_network(model, takes)

    def check(applied: Applied) -> None:
        check_plain(applied, "a network of a GAN")
        output = applied.output
        if tuple(output.shape[1:]) != tuple(gives):
            raise ConfigError(problem(list(output.shape[1:])))

    found = network(build, model, order, lambda candidate: try_out(candidate, tf.TensorSpec([None, *takes]), check))
    return Adversary(found)


def exported(adversary: Adversary, weights: Sequence[np.ndarray]) -> tf.keras.Model:
    """Returns a network as a Keras model, with Keras' own layers if it is sequential. It also always normalizes by its batch."""
    model = adversary.network.build()
    own = listed(model)
    for place, value in zip(adversary.network.order, weights):
        own[place].assign(value)
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
