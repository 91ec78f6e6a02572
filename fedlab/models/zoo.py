"""The models that fedlab provides. TensorFlow is imported when a model is built, not when its options are checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, FiniteFloat, NonNegativeInt, PositiveInt

from fedlab.errors import ConfigError
from fedlab.spec import Spec

if TYPE_CHECKING:
    import tensorflow as tf

Rate = Annotated[float, Field(ge=0, lt=1)]


class ZooModel(Spec):
    """The options that all networks have. Inputs x are normalised to (x − `mean`) / `std`; 0 and 1 leave them unchanged."""

    mean: FiniteFloat = 0.0
    std: Annotated[FiniteFloat, Field(gt=0)] = 1.0

    def normalizing(self) -> list[tf.keras.layers.Layer]:
        """Returns the layers that normalise the inputs: one, or none."""
        import tensorflow as tf

        if (self.mean, self.std) == (0.0, 1.0):
            return []
        return [tf.keras.layers.Rescaling(1 / self.std, -self.mean / self.std)]

    def _inputs(self, input_shape: tuple[int, ...]) -> list[tf.keras.layers.Layer]:
        """Returns the first layers."""
        import tensorflow as tf

        return [tf.keras.layers.InputLayer(input_shape=input_shape), *self.normalizing()]

    def sequential(
        self,
        input_shape: tuple[int, ...],
        layers: list,
        hidden: tuple[int, ...],
        dropout: float,
        num_classes: int,
        normalized: bool = False,
    ) -> tf.keras.Model:
        """Returns `layers`, dense ReLU layers of the widths `hidden`, each followed by dropout, and the logits.

        `normalized`: with batch normalization between a hidden layer and its ReLU.
        """
        import tensorflow as tf

        stack = [*self._inputs(input_shape), *layers, tf.keras.layers.Flatten()]
        for width in hidden:
            if normalized:
                stack += [
                    tf.keras.layers.Dense(width, use_bias=False),
                    tf.keras.layers.BatchNormalization(),
                    tf.keras.layers.ReLU(),
                ]
            else:
                stack.append(tf.keras.layers.Dense(width, activation="relu"))
            if dropout:
                stack.append(tf.keras.layers.Dropout(dropout))
        return tf.keras.Sequential([*stack, tf.keras.layers.Dense(num_classes)])


class Perceptron(ZooModel):
    """Logistic regression: one dense layer from the pixels to the logits."""

    def __call__(self, input_shape: tuple[int, ...], num_classes: int) -> tf.keras.Model:
        return self.sequential(input_shape, [], (), 0.0, num_classes)


class LogisticUnit(ZooModel):
    """Logistic regression with one unit, for two classes: the probability of the second class is sigmoid(w · x + b).

    The logits are 0 and w · x + b, whose softmax is that sigmoid, and whose cross-entropy is the binary one. So a step of SGD is
    that of a single unit, which is half as long as the step of `Perceptron` with two classes.

    `use_bias`: False leaves b out.
    """

    use_bias: bool = True

    def __call__(self, input_shape: tuple[int, ...], num_classes: int) -> tf.keras.Model:
        import tensorflow as tf

        if num_classes != 2:
            raise ConfigError(
                f"model logistic_unit is for two classes, the data has {num_classes}: use model=perceptron, or choose "
                "two, such as data.classes=[0,1]."
            )
        layers = tf.keras.layers
        return tf.keras.Sequential(
            [
                *self._inputs(input_shape),
                layers.Flatten(),
                layers.Dense(1, use_bias=self.use_bias),
                layers.Reshape((1, 1)),
                layers.ZeroPadding1D((1, 0)),  # the logit 0 of the first class
                layers.Reshape((2,)),
            ]
        )


class Mlp(ZooModel):
    """Dense ReLU layers of the widths `hidden`, each followed by dropout at rate `dropout`, then the logits.

    `normalization`: batch puts batch normalization, in place of the bias, before each ReLU.
    """

    hidden: tuple[PositiveInt, ...] = (128,)
    dropout: Rate = 0.0
    normalization: Literal["none", "batch"] = "none"

    def __call__(self, input_shape: tuple[int, ...], num_classes: int) -> tf.keras.Model:
        return self.sequential(input_shape, [], self.hidden, self.dropout, num_classes, self.normalization == "batch")


class Cnn(ZooModel):
    """Convolutions (ReLU), each followed by 2×2 max pooling, then dense ReLU layers and the logits.

    `num_poolings`: only the first `num_poolings` convolutions are followed by pooling; None is all.

    With filters (32, 64), kernel 3, `valid` and dense 128: 225,034 weights on 28×28×1. With kernel 5, `same` and dense
    512: 1,663,370 weights, the network of McMahan et al. 2017, section 3.
    """

    filters: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (32, 64)
    kernel_size: PositiveInt = 3
    padding: Literal["valid", "same"] = "valid"
    num_poolings: NonNegativeInt | None = None
    hidden: tuple[PositiveInt, ...] = (128,)
    dropout: Rate = 0.0

    def __call__(self, input_shape: tuple[int, ...], num_classes: int) -> tf.keras.Model:
        import tensorflow as tf

        if len(input_shape) != 3:
            raise ConfigError(
                f"model cnn needs images [height, width, channels], the data has {list(input_shape)}: "
                "use model=mlp, or give x a last axis of channels."
            )
        self._check_size(min(input_shape[:2]))
        layers: list[tf.keras.layers.Layer] = []
        for filters, pools in zip(self.filters, self._pools):
            layers.append(tf.keras.layers.Conv2D(filters, self.kernel_size, padding=self.padding, activation="relu"))
            if pools:
                layers.append(tf.keras.layers.MaxPool2D())
        return self.sequential(input_shape, layers, self.hidden, self.dropout, num_classes)

    @property
    def _pools(self) -> list[bool]:
        """For each convolution, True if pooling follows."""
        return [self.num_poolings is None or i < self.num_poolings for i in range(len(self.filters))]

    def _check_size(self, side: int) -> None:
        left = side
        for pools in self._pools:
            left = (left - (self.kernel_size - 1 if self.padding == "valid" else 0)) // (2 if pools else 1)
            if left < 1:
                raise ConfigError(
                    f"model.filters has {len(self.filters)} convolutions, too many for images of {side} pixels: use fewer, "
                    "a smaller kernel_size, or padding=same."
                )
