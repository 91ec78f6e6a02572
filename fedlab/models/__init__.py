"""Models: options in, a Keras model out, sized from the data. A user's own model is any function with the same signature.

    def my_model(input_shape: tuple[int, ...], num_classes: int, **options) -> tf.keras.Model

It takes float inputs ([0, 1] for images), or int32 tokens, and returns logits [batch, num_classes], for tokens [batch, length,
num_classes].
"""

from fedlab.models.convolutional import MobileNet, ResNet, Vgg
from fedlab.models.gan import Adversaries, Gan
from fedlab.models.recurrent import Recurrent
from fedlab.models.transformer import Transformer
from fedlab.models.zoo import Cnn, LogisticUnit, Mlp, Perceptron

__all__ = [
    "Adversaries",
    "Cnn",
    "Gan",
    "LogisticUnit",
    "Mlp",
    "MobileNet",
    "Perceptron",
    "Recurrent",
    "ResNet",
    "Transformer",
    "Vgg",
]
