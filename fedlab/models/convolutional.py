"""The deep convolutional networks of the field: VGG, residual networks, MobileNet. They import TensorFlow when they are built."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from fedlab.errors import ConfigError
from fedlab.models.zoo import Rate, ZooModel

if TYPE_CHECKING:
    import tensorflow as tf

Widths = Annotated[tuple[PositiveInt, ...], Field(min_length=1)]


class Vgg(ZooModel):
    """Stages of 3×3 convolutions (ReLU), each stage followed by 2×2 max pooling, then dense ReLU layers and the logits.

    The defaults are VGG-9 (Simonyan & Zisserman 2015, as Wang et al. 2020 cut it down): 3,491,530 weights on 32×32×3.

    `stages`: the number of filters of each convolution, a list per stage.
    """

    stages: Annotated[tuple[Widths, ...], Field(min_length=1)] = ((32, 64), (128, 128), (256, 256))
    hidden: tuple[PositiveInt, ...] = (512, 512)
    dropout: Rate = 0.0

    def __call__(self, input_shape: tuple[int, ...], num_classes: int) -> tf.keras.Model:
        import tensorflow as tf

        check_images(input_shape, "vgg", 2 ** len(self.stages))
        layers: list[tf.keras.layers.Layer] = []
        for stage in self.stages:
            layers += [tf.keras.layers.Conv2D(filters, 3, padding="same", activation="relu") for filters in stage]
            layers.append(tf.keras.layers.MaxPool2D())
        return self.sequential(input_shape, layers, self.hidden, self.dropout, num_classes)


class ResNet(ZooModel):
    """A residual network of basic blocks (He et al. 2016) for small images: a 3×3 convolution, stages of blocks, mean, logits.

    Each stage but the first halves the side of the image. Where a block changes the shape, its shortcut is a 1×1 convolution. The
    defaults are ResNet-18 for 32×32 images: 11,173,962 trainable weights with 3 channels and 10 classes.

    `blocks`, `filters`: the number of blocks of each stage, and of the filters of each convolution in it. `normalization`: batch,
    whose statistics the server averages; or group (Wu & He 2018), as Hsieh et al. 2020 recommend where clients' data differ.
    `groups`: of group normalization; each number of filters must be a multiple.
    """

    blocks: Widths = (2, 2, 2, 2)
    filters: Widths = (64, 128, 256, 512)
    normalization: Literal["batch", "group"] = "group"
    groups: PositiveInt = 2

    @model_validator(mode="after")
    def _stages_agree(self) -> ResNet:
        if len(self.blocks) != len(self.filters):
            raise ValueError(
                f"blocks has {len(self.blocks)} stages, and filters has {len(self.filters)}: give a number per stage"
            )
        for filters in self.filters if self.normalization == "group" else ():
            if filters % self.groups:
                raise ValueError(f"filters {filters} is no multiple of groups {self.groups}")
        return self

    def __call__(self, input_shape: tuple[int, ...], num_classes: int) -> tf.keras.Model:
        import tensorflow as tf

        check_images(input_shape, "resnet", 2 ** (len(self.blocks) - 1))
        layers = tf.keras.layers
        inputs = tf.keras.Input(input_shape)
        x = inputs
        for layer in self.normalizing():
            x = layer(x)
        x = layers.ReLU()(self._normalized(self._convolution(self.filters[0], 3)(x)))
        for stage, (blocks, filters) in enumerate(zip(self.blocks, self.filters)):
            for block in range(blocks):
                x = self._block(x, filters, stride=2 if stage and not block else 1)
        return tf.keras.Model(inputs, layers.Dense(num_classes)(layers.GlobalAveragePooling2D()(x)))

    def _block(self, x: Any, filters: int, stride: int) -> Any:
        """Applies two convolutions, and adds the block's input or its projection."""
        import tensorflow as tf

        layers = tf.keras.layers
        h = layers.ReLU()(self._normalized(self._convolution(filters, 3, stride)(x)))
        h = self._normalized(self._convolution(filters, 3)(h))
        if stride > 1 or x.shape[-1] != filters:
            x = self._normalized(self._convolution(filters, 1, stride)(x))
        return layers.ReLU()(layers.Add()([h, x]))

    def _convolution(self, filters: int, side: int, stride: int = 1) -> tf.keras.layers.Layer:
        import tensorflow as tf

        return tf.keras.layers.Conv2D(filters, side, stride, "same", use_bias=False, kernel_initializer="he_normal")

    def _normalized(self, x: Any) -> Any:
        import tensorflow as tf

        layers = tf.keras.layers
        return layers.BatchNormalization()(x) if self.normalization == "batch" else layers.GroupNormalization(self.groups)(x)


class MobileNet(ZooModel):
    """MobileNetV2 (Sandler et al. 2018) as Keras builds it, without pretrained weights. It has batch normalization.

    2,236,682 trainable weights with 3 channels, 10 classes and `width` 1. Images have 32×32 pixels or more.

    `width`: multiplies the number of filters of each layer (α of the paper).
    """

    width: PositiveFloat = 1.0

    def __call__(self, input_shape: tuple[int, ...], num_classes: int) -> tf.keras.Model:
        import tensorflow as tf

        check_images(input_shape, "mobilenet", 32)
        inputs = tf.keras.Input(input_shape)
        x = inputs
        for layer in self.normalizing():
            x = layer(x)
        body = tf.keras.applications.MobileNetV2(input_tensor=x, alpha=self.width, include_top=False, weights=None, pooling="avg")
        return tf.keras.Model(inputs, tf.keras.layers.Dense(num_classes)(body.output))


def check_images(input_shape: tuple[int, ...], name: str, smallest: int) -> None:
    """Raises `ConfigError` unless examples are images [height, width, channels] of at least `smallest` pixels a side."""
    if len(input_shape) != 3:
        raise ConfigError(
            f"model {name} needs images [height, width, channels], the data has {list(input_shape)}: "
            "use model=mlp, or give x a last axis of channels."
        )
    if min(input_shape[:2]) < smallest:
        raise ConfigError(
            f"model {name} needs images of at least {smallest} pixels a side, the data has {list(input_shape)}: use model=cnn."
        )
