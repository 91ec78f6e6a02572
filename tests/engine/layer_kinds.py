"""Every kind of layer of Keras, in a small classifier each, and a program that trains some of them again and again.

    python tests/engine/layer_kinds.py REPETITIONS ENGINES KIND [KIND …]

prints a line of JSON per kind: its name, the distinct hashes of the weights that training with one seed left, and why it was
refused, if it was. ENGINES: some
of compiled (all clients side by side), in_turn (one after the other), tff, joined by commas. KIND: one, or several joined by +.
It is a program of its own because kernels that are not safe corrupt memory, which ends the process.
"""

from __future__ import annotations

import hashlib
import json
import pathlib
import sys
from collections.abc import Callable
from typing import Any

SHAPE, CLASSES = (8, 8, 2), 3
SIZES = (1, 33, 5, 20, 2, 48, 7, 13, 3, 40, 11, 26)  # batches of 1 to 16 examples, side by side


def _layers() -> Any:
    import tensorflow as tf

    return tf.keras.layers


def _own(function: Callable) -> Any:
    """A layer of somebody's own."""
    return _layers().Lambda(function)


def _fused(x: Any, data_format: str, **options: Any) -> Any:
    import tensorflow as tf

    channels = x.shape[-1 if data_format == "NHWC" else 1]
    ones, zeros = tf.ones([channels]), tf.zeros([channels])
    return tf.compat.v1.nn.fused_batch_norm(x, ones, zeros, data_format=data_format, **options)[0]


def _fused_over_examples(x: Any) -> Any:
    """Fused batch normalization with as many channels as there are examples, as Keras' layer normalization uses it."""
    import tensorflow as tf

    n = tf.shape(x)[0]
    rows = tf.reshape(x, [1, n, x.shape[1] * x.shape[2] * x.shape[3], 1])
    return tf.reshape(tf.compat.v1.nn.fused_batch_norm(rows, tf.ones([n]), tf.zeros([n]), data_format="NCHW")[0], tf.shape(x))


def _fused_with_given_moments(x: Any) -> Any:
    """Each client normalizes with moments of its own, in inference mode."""
    import tensorflow as tf

    mean, variance = tf.nn.moments(tf.stop_gradient(x), [0, 1, 2])
    return _fused(x, "NHWC", mean=mean, variance=variance + 1.0, is_training=False)


def _dense_in_bfloat16() -> list:
    layers = _layers()
    return [
        layers.Flatten(),
        layers.Dense(16, "tanh", dtype="mixed_bfloat16"),
        layers.LayerNormalization(dtype="mixed_bfloat16"),
        layers.Activation("linear", dtype="float32"),
    ]


IMAGES: dict[str, Callable[[], list]] = {  # from [n, 8, 8, 2]
    "Activation": lambda: [_layers().Activation(a) for a in ("gelu", "selu", "softplus", "softsign", "swish", "tanh", "sigmoid")],
    "AlphaDropout": lambda: [_layers().AlphaDropout(0.3)],
    "AveragePooling2D": lambda: [_layers().AveragePooling2D(3, 2, "same")],
    "Conv2D_in_bfloat16": lambda: [_layers().Conv2D(4, 3, activation="relu", dtype="mixed_bfloat16"), *_dense_in_bfloat16()],
    "CenterCrop": lambda: [_layers().CenterCrop(5, 6)],
    "Conv2D": lambda: [_layers().Conv2D(4, 3, activation="relu"), _layers().Conv2D(3, 3, 2, "same", use_bias=False)],
    "Conv2D_dilated": lambda: [_layers().Conv2D(4, 3, dilation_rate=2)],
    "Conv2D_one_by_one": lambda: [_layers().Conv2D(16, 1, activation="elu")],
    "Conv2DTranspose": lambda: [_layers().Conv2DTranspose(3, 3, 2)],
    "Cropping2D": lambda: [_layers().Cropping2D(((1, 2), (0, 1)))],
    "Dense": lambda: [_layers().Dense(16, "relu"), _layers().Dense(5, "tanh")],
    "DepthwiseConv2D": lambda: [_layers().DepthwiseConv2D(3, depth_multiplier=2)],
    "Dropout": lambda: [_layers().Dropout(0.4)],
    "ELU": lambda: [_layers().ELU(0.7)],
    "EinsumDense": lambda: [_layers().EinsumDense("bijk,kl->bijl", (None, 8, 5))],
    "Identity": lambda: [_layers().Identity()],
    "Flatten": lambda: [_layers().Flatten(), _layers().Dense(20)],
    "GaussianDropout": lambda: [_layers().GaussianDropout(0.3)],
    "GaussianNoise": lambda: [_layers().GaussianNoise(0.3)],
    "GlobalAveragePooling2D": lambda: [_layers().Conv2D(6, 3), _layers().GlobalAveragePooling2D()],
    "GlobalMaxPooling2D": lambda: [_layers().Conv2D(6, 3), _layers().GlobalMaxPooling2D()],
    "GroupNormalization": lambda: [_layers().Conv2D(6, 3), _layers().GroupNormalization(3)],
    "LayerNormalization": lambda: [_layers().LayerNormalization()],
    "LayerNormalization_of_rows": lambda: [_layers().Flatten(), _layers().Dense(32), _layers().LayerNormalization()],
    "LayerNormalization_of_images": lambda: [_layers().LayerNormalization([1, 2, 3])],
    "LayerNormalization_of_channels": lambda: [_layers().Conv2D(6, 3), _layers().LayerNormalization(1)],
    "LeakyReLU": lambda: [_layers().LeakyReLU(0.2)],
    "LocallyConnected2D": lambda: [_layers().LocallyConnected2D(2, 3)],
    "MaxPooling2D": lambda: [_layers().Conv2D(4, 3), _layers().MaxPooling2D(2)],
    "MaxPooling2D_overlapping": lambda: [_layers().MaxPooling2D(3, 1, "same")],
    "Normalization": lambda: [_layers().Normalization(mean=[0.1, 0.4], variance=[1.0, 2.0])],
    "PReLU": lambda: [_layers().PReLU(shared_axes=[1, 2])],
    "Permute": lambda: [_layers().Permute((3, 1, 2))],
    "RandomBrightness": lambda: [_layers().RandomBrightness(0.2, value_range=(0, 1))],
    "RandomContrast": lambda: [_layers().RandomContrast(0.2)],
    "RandomCrop": lambda: [_layers().RandomCrop(6, 6)],
    "RandomFlip": lambda: [_layers().RandomFlip()],
    "RandomRotation": lambda: [_layers().RandomRotation(0.1)],
    "RandomTranslation": lambda: [_layers().RandomTranslation(0.1, 0.1)],
    "RandomZoom": lambda: [_layers().RandomZoom(0.1)],
    "ReLU": lambda: [_layers().ReLU(1.0, 0.1, 0.2)],
    "Rescaling": lambda: [_layers().Rescaling(2.0, -1.0)],
    "Resizing": lambda: [_layers().Resizing(5, 11)],
    "SeparableConv2D": lambda: [_layers().SeparableConv2D(5, 3)],
    "Softmax": lambda: [_layers().Softmax()],
    "SpatialDropout2D": lambda: [_layers().SpatialDropout2D(0.4)],
    "ThresholdedReLU": lambda: [_layers().ThresholdedReLU(0.3)],
    "UnitNormalization": lambda: [_layers().UnitNormalization()],
    "UpSampling2D": lambda: [_layers().UpSampling2D(2), _layers().UpSampling2D(2, interpolation="bilinear")],
    "ZeroPadding2D": lambda: [_layers().ZeroPadding2D(((1, 2), (0, 1)))],
    "own_fused_nhwc": lambda: [_layers().Conv2D(6, 3), _own(lambda x: _fused(x, "NHWC"))],
    "own_fused_nchw": lambda: [_own(lambda x: _fused(x, "NCHW"))],
    "own_fused_over_examples": lambda: [_own(_fused_over_examples)],
    "own_fused_with_given_moments": lambda: [_layers().Conv2D(6, 3), _own(_fused_with_given_moments)],
    "own_local_response_normalization": lambda: [_own(_local_response_normalization)],
}
SEQUENCES: dict[str, Callable[[], list]] = {  # from [n, 8, 16]
    "AveragePooling1D": lambda: [_layers().AveragePooling1D(2)],
    "Bidirectional": lambda: [_layers().Bidirectional(_layers().LSTM(4))],
    "Conv1D": lambda: [_layers().Conv1D(4, 3, padding="causal")],
    "Conv1DTranspose": lambda: [_layers().Conv1DTranspose(4, 3)],
    "ConvLSTM1D": lambda: [_layers().Reshape((4, 8, 4)), _layers().ConvLSTM1D(2, 3)],
    "CategoryEncoding": lambda: [_own(lambda x: x[:, :, 0] * 9.0), _layers().CategoryEncoding(10, "count")],
    "Cropping1D": lambda: [_layers().Cropping1D(1)],
    "DepthwiseConv1D": lambda: [_layers().DepthwiseConv1D(3)],
    "GRU": lambda: [_layers().GRU(6, return_sequences=True)],
    "GRU_with_dropout": lambda: [_layers().GRU(6, dropout=0.2, recurrent_dropout=0.2, reset_after=False)],
    "LSTM_with_dropout": lambda: [_layers().Bidirectional(_layers().LSTM(4, dropout=0.2, recurrent_dropout=0.2))],
    "GlobalAveragePooling1D": lambda: [_layers().GlobalAveragePooling1D()],
    "GlobalMaxPooling1D": lambda: [_layers().GlobalMaxPooling1D()],
    "LSTM": lambda: [_layers().LSTM(6), _layers().LayerNormalization()],
    "LocallyConnected1D": lambda: [_layers().LocallyConnected1D(3, 3)],
    "Masking": lambda: [_layers().Masking(0.0), _layers().LSTM(5)],
    "MaxPooling1D": lambda: [_layers().MaxPooling1D(2)],
    "RNN_of_cells": lambda: [_layers().RNN([_layers().GRUCell(4), _layers().LSTMCell(3), _layers().SimpleRNNCell(3)])],
    "Reshape": lambda: [_layers().Reshape((4, 32)), _layers().Dense(3)],
    "RepeatVector": lambda: [_layers().GlobalMaxPooling1D(), _layers().RepeatVector(3)],
    "SeparableConv1D": lambda: [_layers().SeparableConv1D(4, 3)],
    "SimpleRNN": lambda: [_layers().SimpleRNN(6)],
    "SpatialDropout1D": lambda: [_layers().SpatialDropout1D(0.3)],
    "TimeDistributed": lambda: [_layers().TimeDistributed(_layers().Dense(3)), _layers().LayerNormalization()],
    "UpSampling1D": lambda: [_layers().UpSampling1D(2)],
    "ZeroPadding1D": lambda: [_layers().ZeroPadding1D(1)],
}
VOLUMES: dict[str, Callable[[], list]] = {  # from [n, 4, 4, 4, 2]
    "AveragePooling3D": lambda: [_layers().AveragePooling3D(2)],
    "Conv3D": lambda: [_layers().Conv3D(3, 3, activation="relu")],
    "Conv3DTranspose": lambda: [_layers().Conv3DTranspose(2, 2)],
    "ConvLSTM2D": lambda: [_layers().ConvLSTM2D(2, 2)],
    "ConvLSTM3D": lambda: [_layers().Reshape((2, 4, 4, 2, 2)), _layers().ConvLSTM3D(2, 2)],
    "Cropping3D": lambda: [_layers().Cropping3D(1)],
    "GlobalAveragePooling3D": lambda: [_layers().GlobalAveragePooling3D()],
    "GlobalMaxPooling3D": lambda: [_layers().GlobalMaxPooling3D()],
    "LayerNormalization_of_volumes": lambda: [_layers().LayerNormalization()],
    "MaxPooling3D": lambda: [_layers().MaxPooling3D(2)],
    "SpatialDropout3D": lambda: [_layers().SpatialDropout3D(0.3)],
    "UpSampling3D": lambda: [_layers().UpSampling3D(2)],
    "ZeroPadding3D": lambda: [_layers().ZeroPadding3D(1)],
}
MERGES: dict[str, Callable[[Any, Any], Any]] = {  # of two sequences [n, 8, 16]
    "Add": lambda a, b: _layers().Add()([a, b]),
    "AdditiveAttention": lambda a, b: _layers().AdditiveAttention()([a, b]),
    "Attention": lambda a, b: _layers().Attention(use_scale=True)([a, b]),
    "Average": lambda a, b: _layers().Average()([a, b]),
    "Concatenate": lambda a, b: _layers().Concatenate()([a, b]),
    "Dot": lambda a, b: _layers().Dot(2, normalize=True)([a, b]),
    "Maximum": lambda a, b: _layers().Maximum()([a, b]),
    "Minimum": lambda a, b: _layers().Minimum()([a, b]),
    "MultiHeadAttention": lambda a, b: _layers().MultiHeadAttention(2, 3, dropout=0.1)(a, b),
    "Multiply": lambda a, b: _layers().Multiply()([a, b]),
    "Subtract": lambda a, b: _layers().Subtract()([a, b]),
    "Transformer": lambda a, b: _layers().LayerNormalization()(a + _layers().MultiHeadAttention(2, 3)(a, b)),
}
WORDS = ("Embedding",)
KINDS = (*IMAGES, *SEQUENCES, *VOLUMES, *MERGES, *WORDS)
REFUSED = ("RandomContrast",)  # by one line: it has no gradient
NOT_TRIED = {
    **dict.fromkeys(("BatchNormalization", "ActivityRegularization"), "in tests/algorithms/test_batch_statistics.py"),
    "SpectralNormalization": "refused: it assigns to a trainable weight",
    **dict.fromkeys(("RandomHeight", "RandomWidth"), "give images of no fixed size, which no classifier takes"),
    **dict.fromkeys(("Discretization", "HashedCrossing", "Hashing", "IntegerLookup"), "make integers, and are applied to data"),
    **dict.fromkeys(("StringLookup", "TextVectorization", "DenseFeatures"), "take strings or columns, and no example set does"),
    **dict.fromkeys(("AbstractRNNCell", "InputLayer", "Layer", "Wrapper"), "hold no computation of their own"),
    **dict.fromkeys(("GRUCell", "LSTMCell", "SimpleRNNCell", "StackedRNNCells"), "are part of RNN_of_cells"),
    "Lambda": "is every own_…",
}


def _local_response_normalization(x: Any) -> Any:
    import tensorflow as tf

    return tf.nn.local_response_normalization(x)


def _part(kind: str, inputs: Any) -> Any:
    layers = _layers()
    if kind in MERGES:
        x = layers.Reshape((8, 16))(inputs)
        return MERGES[kind](layers.Dense(16)(x), x)
    if kind in WORDS:
        import tensorflow as tf

        words = layers.Lambda(lambda x: tf.cast(x * 49.0, tf.int32))(layers.Flatten()(inputs))
        return layers.Embedding(50, 3)(words)
    x = inputs
    if kind in SEQUENCES:
        x = layers.Reshape((8, 16))(x)
    elif kind in VOLUMES:
        x = layers.Reshape((4, 4, 4, 2))(x)
    for layer in {**IMAGES, **SEQUENCES, **VOLUMES}[kind]():
        x = layer(x)
    return x


def classifier(*kinds: str) -> Callable:
    """A builder of a classifier that has a branch with each of these layers."""

    def build(input_shape: tuple[int, ...], num_classes: int) -> Any:
        import tensorflow as tf

        inputs = tf.keras.Input(input_shape)
        flat = [_layers().Flatten()(_part(kind, inputs)) for kind in kinds]
        joined = _layers().Concatenate()(flat) if len(flat) > 1 else flat[0]
        return tf.keras.Model(inputs, _layers().Dense(num_classes)(_layers().Dense(9, "tanh")(joined)))

    return build


def _main(repetitions: int, engines: str, kinds: list[str]) -> None:
    from fedlab.run.start import start_tensorflow

    start_tensorflow("cpu", len(SIZES))
    import conftest
    import numpy as np
    import tensorflow as tf

    from fedlab.algorithms import LocalTraining
    from fedlab.algorithms.optimizers import Sgd
    from fedlab.engine import Compiled, Tff
    from fedlab.errors import FedlabError

    tf.config.threading.set_inter_op_parallelism_threads(8)  # also on a machine with few cores
    specs = {"compiled": Compiled(parallel_clients=len(SIZES)), "in_turn": Compiled(parallel_clients=1), "tff": Tff()}
    lab = conftest.Lab()
    examples = lab.examples(SIZES, shape=SHAPE, num_classes=CLASSES)
    inputs = lab.inputs(2, epochs=3, partition=lab.partition(SIZES))
    options = {"client": LocalTraining(batch_size=16), "client_optimizer": Sgd(learning_rate=0.05)}
    for kind in kinds:
        hashes: dict[str, None] = {}
        refused = None
        for engine in engines.split(","):
            model = classifier(*kind.split("+"))
            try:
                trainer = lab.trainer(model=model, examples=examples, engine=specs[engine], fresh=True, **options)
            except FedlabError as error:
                refused = str(error)
                continue
            for _ in range(repetitions):
                weights = trainer.run(inputs).weights[-1]
                assert all(np.all(np.isfinite(w)) for w in weights), kind
                hashes[hashlib.sha256(b"".join(w.tobytes() for w in weights)).hexdigest()[:12]] = None
            trainer.engine.close()
        print(json.dumps({"kind": kind, "hashes": list(hashes), "refused": refused}), flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
    _main(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
