"""Pairs of networks that are trained against each other: a generator of images, and a discriminator that scores them."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveInt

from fedlab.errors import ConfigError
from fedlab.spec import Spec

if TYPE_CHECKING:
    import tensorflow as tf

Normalization = Literal["batch", "layer", "none"]


class Adversaries(Spec):
    """The networks that process=gan trains. All weights of both must be trainable: other weights are not federated."""

    noise_dimension: PositiveInt = 128

    @abc.abstractmethod
    def generator(self, input_shape: tuple[int, ...]) -> tf.keras.Model:
        """Returns the network: normal noise float32 [batch, noise_dimension] → images [batch, *input_shape] in [-1, 1]."""

    @abc.abstractmethod
    def discriminator(self, input_shape: tuple[int, ...]) -> tf.keras.Model:
        """Returns the network: images [batch, *input_shape] in [-1, 1] → scores [batch, 1], high for images that look real."""

    def __call__(self, input_shape: tuple[int, ...], num_classes: int) -> tuple[tf.keras.Model, tf.keras.Model]:
        """Returns (generator, discriminator); `num_classes` is ignored."""
        return self.generator(input_shape), self.discriminator(input_shape)


class Gan(Adversaries):
    """Convolutional networks. The defaults are those of Augenstein et al. 2020 for EMNIST, which are TF-GAN's for MNIST.

    Generator: dense layers, `generator_filters[0]` feature maps, a transposed convolution of stride 2 for each further number,
    one plain convolution and tanh. Discriminator: a convolution of stride 2 per number in `discriminator_filters`, dense
    layers, a score; leaky ReLU. Normalization by batch statistics, there as in training, always: no moving averages are kept.
    In the discriminator, it is of the dense layers' outputs; `layer` normalizes after every layer but the first and the last.
    """

    generator_hidden: tuple[PositiveInt, ...] = (1024,)
    generator_filters: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (256, 64, 32)
    generator_normalization: Literal["batch", "none"] = "batch"
    discriminator_filters: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (64, 128)
    discriminator_hidden: tuple[PositiveInt, ...] = (1024,)
    discriminator_normalization: Normalization = "batch"
    kernel_size: PositiveInt = 4
    leak: NonNegativeFloat = 0.01  # of the discriminator's leaky ReLU

    def generator(self, input_shape: tuple[int, ...]) -> tf.keras.Model:
        import tensorflow as tf

        height, width, channels = self._checked(input_shape)
        layers, shrink = tf.keras.layers, 2 ** (len(self.generator_filters) - 1)
        first = (height // shrink, width // shrink, self.generator_filters[0])
        normalized = self.generator_normalization != "none"
        stack = [layers.InputLayer(input_shape=(self.noise_dimension,))]
        for units in (*self.generator_hidden, first[0] * first[1] * first[2]):
            stack.append(layers.Dense(units, use_bias=not normalized))
            stack += [*self._normalization(self.generator_normalization), layers.ReLU()]
        stack.append(layers.Reshape(first))
        for filters in self.generator_filters[1:]:
            stack.append(layers.Conv2DTranspose(filters, self.kernel_size, 2, padding="same", use_bias=not normalized))
            stack += [*self._normalization(self.generator_normalization), layers.ReLU()]
        return tf.keras.Sequential([*stack, layers.Conv2D(channels, self.kernel_size, padding="same", activation="tanh")])

    def discriminator(self, input_shape: tuple[int, ...]) -> tf.keras.Model:
        import tensorflow as tf

        self._checked(input_shape)
        layers, kind = tf.keras.layers, self.discriminator_normalization
        stack = [layers.InputLayer(input_shape=input_shape)]
        for i, filters in enumerate(self.discriminator_filters):
            stack.append(layers.Conv2D(filters, self.kernel_size, 2, padding="same"))
            stack += [*(self._normalization(kind) if kind == "layer" and i else []), layers.LeakyReLU(self.leak)]
        stack.append(layers.Flatten())
        for units in self.discriminator_hidden:
            stack.append(layers.Dense(units, use_bias=kind == "none"))
            stack += [*self._normalization(kind), layers.LeakyReLU(self.leak)]
        return tf.keras.Sequential([*stack, layers.Dense(1)])

    @staticmethod
    def _normalization(kind: Normalization) -> list[tf.keras.layers.Layer]:
        import tensorflow as tf

        from fedlab.models.adversarial import BatchStatistics

        if kind == "none":
            return []
        return [BatchStatistics() if kind == "batch" else tf.keras.layers.LayerNormalization()]

    def _checked(self, input_shape: tuple[int, ...]) -> tuple[int, int, int]:
        """Returns height, width and channels. Raises `ConfigError` for shapes that these networks cannot generate."""
        if len(input_shape) != 3:
            raise ConfigError(
                f"model gan needs images [height, width, channels], the data has {list(input_shape)}: "
                "give x a last axis of channels."
            )
        shrink = 2 ** (len(self.generator_filters) - 1)
        if input_shape[0] % shrink or input_shape[1] % shrink:
            raise ConfigError(
                f"model.generator_filters has {len(self.generator_filters)} numbers, so images must have sides that can be "
                f"divided by {shrink}, and the data has {input_shape[0]}×{input_shape[1]}: use fewer."
            )
        height, width, channels = input_shape
        return height, width, channels
