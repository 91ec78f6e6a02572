"""Models as people write them: in the styles of Keras' guides and examples, with layers and classes of their own.

Each function builds a model of images [8, 8, 3], or, if its name begins with `text_`, of 12 tokens below 20.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

IMAGE, TOKENS, VOCABULARY, CLASSES = (8, 8, 3), (12,), 20, 4
layers, keras = tf.keras.layers, tf.keras


def xception_blocks() -> keras.Model:
    """Separable convolutions with batch normalization, around which strided 1×1 convolutions go."""
    inputs = keras.Input(IMAGE)
    x = layers.Rescaling(1.0 / 255)(inputs)
    x = layers.Activation("relu")(layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same")(x)))
    before = x
    for size in (5, 6):
        for _ in range(2):
            x = layers.Activation("relu")(x)
            x = layers.SeparableConv2D(size, 3, padding="same")(x)
            x = layers.BatchNormalization()(x)
        x = layers.MaxPooling2D(3, strides=2, padding="same")(x)
        around = layers.Conv2D(size, 1, strides=2, padding="same")(before)
        before = x = layers.add([x, around])
    return keras.Model(inputs, layers.Dense(CLASSES)(layers.GlobalAveragePooling2D()(x)))


class Patches(layers.Layer):
    """Cuts images [n, h, w, c] into patches [n, number, size · size · c]."""

    def __init__(self, size: int, **options: Any):
        super().__init__(**options)
        self.size = size

    def call(self, images: tf.Tensor) -> tf.Tensor:
        batch = tf.shape(images)[0]
        sides, strides = [1, self.size, self.size, 1], [1, 1, 1, 1]
        patches = tf.image.extract_patches(images, sizes=sides, strides=sides, rates=strides, padding="VALID")
        return tf.reshape(patches, [batch, -1, patches.shape[-1]])

    def get_config(self) -> dict:
        return {**super().get_config(), "size": self.size}


class PatchEncoder(layers.Layer):
    """Adds the embedding of a patch's position to its projection."""

    def __init__(self, number: int, width: int, **options: Any):
        super().__init__(**options)
        self.number, self.width = number, width
        self.projection = layers.Dense(units=width)
        self.position_embedding = layers.Embedding(input_dim=number, output_dim=width)

    def call(self, patch: tf.Tensor) -> tf.Tensor:
        positions = tf.range(start=0, limit=self.number, delta=1)
        return self.projection(patch) + self.position_embedding(positions)

    def get_config(self) -> dict:
        return {**super().get_config(), "number": self.number, "width": self.width}


def vision_transformer() -> keras.Model:
    inputs = keras.Input(shape=IMAGE)
    encoded = PatchEncoder(4, 8)(Patches(4)(inputs))
    x1 = layers.LayerNormalization(epsilon=1e-6)(encoded)
    x2 = layers.Add()([layers.MultiHeadAttention(num_heads=2, key_dim=8, dropout=0.0)(x1, x1), encoded])
    x3 = layers.LayerNormalization(epsilon=1e-6)(x2)
    x3 = layers.Dense(8, activation=tf.nn.gelu)(layers.Dense(16, activation=tf.nn.gelu)(x3))
    x = layers.Flatten()(layers.LayerNormalization(epsilon=1e-6)(layers.Add()([x3, x2])))
    return keras.Model(inputs=inputs, outputs=layers.Dense(CLASSES)(x))


def mlp_mixer() -> keras.Model:
    inputs = keras.Input(IMAGE)
    x = layers.Reshape((64, 3))(inputs)
    y = layers.Permute((2, 1))(layers.LayerNormalization()(x))
    y = layers.Permute((2, 1))(layers.Dense(64)(layers.Dense(6, "gelu")(y)))
    x = x + y
    return keras.Model(inputs, layers.Dense(CLASSES)(layers.GlobalMaxPooling1D()(x)))


class IdentityBlock(keras.Model):
    """The block of TensorFlow's guide on subclassing, with lists of layers and arithmetic in `call`."""

    def __init__(self, filters: int, kernel: int):
        super().__init__(name="")
        self.convolutions = [layers.Conv2D(filters, kernel, padding="same") for _ in range(2)]
        self.norms = [layers.BatchNormalization() for _ in range(2)]
        self.act = layers.Activation("relu")
        self.add = layers.Add()

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        x = inputs
        for convolution, norm in zip(self.convolutions, self.norms):
            x = self.act(norm(convolution(x), training=training))
        return self.act(self.add([x, inputs]))


class ResNet(keras.Model):
    def __init__(self, num_classes: int):
        super().__init__()
        self.convolution = layers.Conv2D(4, 3, padding="same")
        self.blocks = {"first": IdentityBlock(4, 3), "second": IdentityBlock(4, 3)}
        self.pool = layers.GlobalAveragePooling2D()
        self.classifier = layers.Dense(num_classes)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        x = self.convolution(inputs)
        for block in self.blocks.values():
            x = block(x, training=training)
        return self.classifier(self.pool(x))


def resnet_of_classes() -> keras.Model:
    model = ResNet(CLASSES)
    model(tf.zeros((1, *IMAGE)))  # makes the weights
    return model


class Linear(layers.Layer):
    """The layer of Keras' guide "Making new layers", with a loss of its own."""

    def __init__(self, units: int = 5, **options: Any):
        super().__init__(**options)
        self.units = units

    def build(self, input_shape: Any) -> None:
        self.w = self.add_weight(shape=(input_shape[-1], self.units), initializer="random_normal", trainable=True)
        self.b = self.add_weight(shape=(self.units,), initializer="random_normal", trainable=True)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        self.add_loss(1e-2 * tf.reduce_sum(tf.square(self.w)))
        return tf.matmul(inputs, self.w) + self.b

    def get_config(self) -> dict:
        return {**super().get_config(), "units": self.units}


class MlpBlock(layers.Layer):
    """Layers in a layer, which are built when it is called first."""

    def __init__(self, **options: Any):
        super().__init__(**options)
        self.linears = [Linear(6), Linear(5)]

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        for linear in self.linears:
            inputs = tf.nn.relu(linear(inputs))
        return inputs


def layers_in_layers() -> keras.Model:
    return keras.Sequential([keras.Input(IMAGE), layers.Flatten(), MlpBlock(), layers.Dense(CLASSES)])


class Variables(layers.Layer):
    """Makes variables itself, as older guides do."""

    def __init__(self, units: int = 5, inputs: int = 192, **options: Any):
        super().__init__(**options)
        self.w = tf.Variable(tf.random_normal_initializer()(shape=(inputs, units)), trainable=True)
        self.b = tf.Variable(tf.zeros_initializer()(shape=(units,)), trainable=True)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return tf.matmul(inputs, self.w) + self.b


def layer_of_variables() -> keras.Model:
    return keras.Sequential([keras.Input(IMAGE), layers.Flatten(), Variables(), layers.Dense(CLASSES)])


class Antirectifier(layers.Layer):
    def build(self, input_shape: Any) -> None:
        self.kernel = self.add_weight(shape=(input_shape[-1] * 2, 5), initializer="he_normal", name="kernel", trainable=True)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        inputs -= tf.reduce_mean(inputs, axis=-1, keepdims=True)
        return tf.matmul(tf.concat([tf.nn.relu(inputs), tf.nn.relu(-inputs)], axis=-1), self.kernel)


def antirectifier() -> keras.Model:
    return keras.Sequential([keras.Input(IMAGE), layers.Flatten(), layers.Dense(6), Antirectifier(), layers.Dense(CLASSES)])


def siamese() -> keras.Model:
    """One encoder for two halves of an image."""
    inputs = keras.Input(IMAGE)
    encoder = keras.Sequential([layers.Conv2D(4, 3, activation="relu"), layers.Flatten(), layers.Dense(5)], name="encoder")
    left, right = encoder(inputs[:, :, :4]), encoder(inputs[:, :, 4:])
    distance = tf.abs(left - right)
    return keras.Model(inputs, layers.Dense(CLASSES)(layers.concatenate([left, right, distance])))


def wide_and_deep() -> keras.Model:
    inputs = keras.Input(IMAGE)
    flat = layers.Flatten()(inputs)
    deep = layers.Dense(6, "relu", kernel_regularizer=keras.regularizers.l1_l2(1e-3, 1e-3))(flat)
    wide = layers.Dense(CLASSES, kernel_constraint=keras.constraints.NonNeg(), use_bias=False)(flat)
    return keras.Model(inputs, tf.nn.bias_add(wide, tf.ones([CLASSES])) + layers.Dense(CLASSES)(deep) * 0.5)


def squeeze_and_excitation() -> keras.Model:
    inputs = keras.Input(IMAGE)
    x = layers.GroupNormalization(groups=2)(layers.Conv2D(4, 3, activation="swish")(inputs))
    gate = layers.Dense(4, "sigmoid")(layers.Dense(2, "relu")(layers.GlobalAveragePooling2D()(x)))
    x = layers.Multiply()([x, layers.Reshape((1, 1, 4))(gate)])
    return keras.Model(inputs, layers.Dense(CLASSES)(layers.GlobalAveragePooling2D()(x)))


def frames() -> keras.Model:
    """A convolution for each row of pixels, then a recurrent layer over rows."""
    return keras.Sequential(
        [
            keras.Input(IMAGE),
            layers.TimeDistributed(layers.Conv1D(3, 3, activation="relu")),
            layers.TimeDistributed(layers.Flatten()),
            layers.Bidirectional(layers.LSTM(4, return_sequences=True), merge_mode="sum"),
            layers.GRU(3, go_backwards=True),
            layers.Dense(CLASSES),
        ]
    )


def stacked_cells() -> keras.Model:
    cells = [layers.LSTMCell(3), layers.GRUCell(4)]
    return keras.Sequential([keras.Input(IMAGE), layers.Reshape((8, 24)), layers.RNN(cells), layers.Dense(CLASSES)])


def transferred() -> keras.Model:
    """The transfer-learning guide: a frozen base, called with training=False, under a new head."""
    base = keras.Sequential([keras.Input(IMAGE), layers.Conv2D(4, 3), layers.BatchNormalization(), layers.ReLU()])
    base.trainable = False
    inputs = keras.Input(IMAGE)
    x = base(inputs, training=False)
    return keras.Model(inputs, layers.Dense(CLASSES)(layers.GlobalAveragePooling2D()(x)))


def cloned() -> keras.Model:
    return keras.models.clone_model(xception_blocks())


def built_late() -> keras.Model:
    model = keras.Sequential([layers.Flatten(), layers.Dense(5, "relu"), layers.Dense(CLASSES)])
    model.build((None, *IMAGE))
    return model


def adapted_then_cropped() -> keras.Model:
    normalization = layers.Normalization()
    normalization.adapt(np.random.default_rng(0).normal(2.0, 3.0, (50, *IMAGE)))
    stack = [normalization, layers.CenterCrop(6, 6), layers.Resizing(4, 4), layers.Flatten(), layers.Dense(CLASSES)]
    return keras.Sequential([keras.Input(IMAGE), *stack])


def normalized_then_cropped() -> keras.Model:
    normalization = layers.Normalization(mean=[1.0, 2.0, 3.0], variance=[1.0, 4.0, 9.0])
    return keras.Sequential([keras.Input(IMAGE), normalization, layers.CenterCrop(6, 6), layers.Flatten(), layers.Dense(CLASSES)])


def turned_and_moved() -> keras.Model:
    """Augmentation whose ranges leave one value, so that it draws nothing that shows."""
    turn, move = layers.RandomRotation((0.25, 0.25)), layers.RandomTranslation((0.125, 0.125), (0.25, 0.25))
    augmentation = keras.Sequential([turn, move, layers.RandomZoom((0.5, 0.5))], name="augmentation")
    inputs = keras.Input(IMAGE)
    x = layers.BatchNormalization()(layers.Conv2D(3, 3)(augmentation(inputs)))
    return keras.Model(inputs, layers.Dense(CLASSES)(layers.Flatten()(x)))


def in_bfloat16() -> keras.Model:
    """The mixed-precision guide: a global policy, and outputs in float32."""
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        inputs = keras.Input(IMAGE)
        x = layers.Conv2D(4, 3, activation="relu", kernel_regularizer="l2")(inputs)
        x = layers.BatchNormalization()(x)
        x = layers.Dense(6, activation="relu")(layers.Flatten()(x))
        return keras.Model(inputs, layers.Activation("linear", dtype="float32")(layers.Dense(CLASSES)(x)))
    finally:
        keras.mixed_precision.set_global_policy("float32")


class TransformerBlock(layers.Layer):
    def __init__(self, width: int, heads: int, hidden: int, rate: float = 0.0, **options: Any):
        super().__init__(**options)
        self.att = layers.MultiHeadAttention(num_heads=heads, key_dim=width)
        self.ffn = keras.Sequential([layers.Dense(hidden, activation="relu"), layers.Dense(width)])
        self.layernorm1, self.layernorm2 = (layers.LayerNormalization(epsilon=1e-6) for _ in range(2))
        self.dropout1, self.dropout2 = layers.Dropout(rate), layers.Dropout(rate)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        attended = self.dropout1(self.att(inputs, inputs), training=training)
        out1 = self.layernorm1(inputs + attended)
        return self.layernorm2(out1 + self.dropout2(self.ffn(out1), training=training))


class TokenAndPositionEmbedding(layers.Layer):
    def __init__(self, length: int, vocabulary: int, width: int, **options: Any):
        super().__init__(**options)
        self.token_emb = layers.Embedding(input_dim=vocabulary, output_dim=width)
        self.pos_emb = layers.Embedding(input_dim=length, output_dim=width)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        positions = self.pos_emb(tf.range(start=0, limit=tf.shape(x)[-1], delta=1))
        return self.token_emb(x) + positions


def text_transformer() -> keras.Model:
    inputs = layers.Input(shape=TOKENS, dtype="int32")
    x = TransformerBlock(8, 2, 8)(TokenAndPositionEmbedding(TOKENS[0], VOCABULARY, 8)(inputs))
    x = layers.GlobalAveragePooling1D()(x)
    return keras.Model(inputs, layers.Dense(CLASSES)(layers.Dense(6, activation="relu")(x)))


def text_bidirectional() -> keras.Model:
    """Masks padding, token 0."""
    inputs = keras.Input(shape=TOKENS, dtype="int32")
    x = layers.Embedding(VOCABULARY, 6, mask_zero=True)(inputs)
    x = layers.Bidirectional(layers.LSTM(4, return_sequences=True))(x)
    return keras.Model(inputs, layers.Dense(CLASSES)(layers.Bidirectional(layers.LSTM(4))(x)))


def text_attention() -> keras.Model:
    """Attention of a query over values, both masked."""
    inputs = keras.Input(shape=TOKENS, dtype="int32")
    x = layers.Embedding(VOCABULARY, 6, mask_zero=True)(inputs)
    query, value = layers.Dense(4)(x), layers.Dense(4)(x)
    mixed = layers.Attention(use_scale=True)([query, value])
    additive = layers.AdditiveAttention()([query, value])
    x = layers.Concatenate()([layers.GlobalAveragePooling1D()(part) for part in (mixed, additive, query)])
    return keras.Model(inputs, layers.Dense(CLASSES)(x))


def text_in_bfloat16() -> keras.Model:
    policy = keras.mixed_precision.Policy("mixed_bfloat16")
    inputs = keras.Input(shape=TOKENS, dtype="int32")
    x = layers.Embedding(VOCABULARY, 6, dtype=policy)(inputs)
    x = layers.GRU(4, return_sequences=True, dtype=policy)(x)
    x = layers.LayerNormalization(dtype=policy)(layers.MultiHeadAttention(2, 3, dtype=policy)(x, x))
    return keras.Model(inputs, layers.Dense(CLASSES, dtype="float32")(layers.GlobalAveragePooling1D(dtype="float32")(x)))


def text_of_one_hot() -> keras.Model:
    inputs = keras.Input(shape=TOKENS, dtype="int32")
    x = layers.CategoryEncoding(num_tokens=VOCABULARY, output_mode="multi_hot")(inputs)
    return keras.Model(inputs, layers.Dense(CLASSES)(x))


def dropped_rows() -> keras.Model:
    """Recurrent layers whose masks are drawn."""
    return keras.Sequential(
        [
            keras.Input(IMAGE),
            layers.BatchNormalization(),
            layers.Reshape((8, 24)),
            layers.LSTM(5, dropout=0.2, recurrent_dropout=0.2, return_sequences=True, kernel_regularizer="l2"),
            layers.Bidirectional(layers.GRU(4, dropout=0.2, recurrent_dropout=0.3, return_sequences=True)),
            layers.RNN([layers.LSTMCell(3, recurrent_dropout=0.1), layers.SimpleRNNCell(4, dropout=0.1)]),
            layers.Dense(CLASSES),
        ]
    )


def text_dropped() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input(TOKENS, dtype="int32"),
            layers.Embedding(VOCABULARY, 6, mask_zero=True),
            layers.LSTM(4, dropout=0.2, recurrent_dropout=0.2),
            layers.Dense(CLASSES),
        ]
    )


def augmented() -> keras.Model:
    stack = [
        layers.RandomFlip("horizontal_and_vertical"),
        layers.RandomRotation(0.2),
        layers.RandomTranslation(0.1, 0.1),
        layers.RandomZoom(0.2),
        layers.RandomCrop(6, 6),
        layers.RandomBrightness(0.2, value_range=(0.0, 1.0)),
        layers.GaussianNoise(0.1),
    ]
    inputs = keras.Input(IMAGE)
    x = layers.BatchNormalization()(layers.Conv2D(4, 3)(keras.Sequential(stack)(inputs)))
    x = layers.SpatialDropout2D(0.2)(layers.GaussianDropout(0.1)(layers.AlphaDropout(0.1)(x)))
    return keras.Model(inputs, layers.Dense(CLASSES)(layers.Dropout(0.5)(layers.Flatten()(x))))


class VectorQuantizer(layers.Layer):
    """The layer of the example on VQ-VAE: a variable of its own, a straight-through gradient, and two losses."""

    def __init__(self, size: int = 5, width: int = 2, **options: Any):
        super().__init__(**options)
        self.size, self.width = size, width
        values = tf.random_uniform_initializer()(shape=(width, size), dtype="float32")
        self.embeddings = tf.Variable(initial_value=values, trainable=True, name="embeddings_vqvae")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        flattened = tf.reshape(x, [-1, self.width])
        similarity = tf.matmul(flattened, self.embeddings)
        distances = (
            tf.reduce_sum(flattened**2, axis=1, keepdims=True) + tf.reduce_sum(self.embeddings**2, axis=0) - 2 * similarity
        )
        encodings = tf.one_hot(tf.argmin(distances, axis=1), self.size)
        quantized = tf.reshape(tf.matmul(encodings, self.embeddings, transpose_b=True), tf.shape(x))
        commitment = tf.reduce_mean((tf.stop_gradient(quantized) - x) ** 2)
        self.add_loss(0.25 * commitment + tf.reduce_mean((quantized - tf.stop_gradient(x)) ** 2))
        return x + tf.stop_gradient(quantized - x)

    def get_config(self) -> dict:
        return {**super().get_config(), "size": self.size, "width": self.width}


def vector_quantized() -> keras.Model:
    inputs = keras.Input(IMAGE)
    return keras.Model(inputs, layers.Dense(CLASSES)(layers.Flatten()(VectorQuantizer()(layers.Conv2D(2, 3)(inputs)))))


def encoder_and_decoder() -> keras.Model:
    """A decoder that starts from the state of an encoder."""
    inputs = keras.Input(IMAGE)
    rows = layers.Reshape((8, 24))(inputs)
    _, *state = layers.LSTM(4, return_state=True)(rows)
    decoded = layers.LSTM(4, return_sequences=True)(rows, initial_state=state)
    return keras.Model(inputs, layers.Dense(CLASSES)(layers.Flatten()(layers.TimeDistributed(layers.Dense(3))(decoded))))


class StochasticDepth(layers.Layer):
    """The layer of the example on compact transformers: `training` may be None, and Python decides by it."""

    def __init__(self, drop_prob: float = 0.2, **options: Any):
        super().__init__(**options)
        self.drop_prob = drop_prob

    def call(self, x: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        if training:
            keep_prob = 1 - self.drop_prob
            shape = (tf.shape(x)[0],) + (1,) * (len(x.shape) - 1)
            return (x / keep_prob) * tf.floor(keep_prob + tf.random.uniform(shape, 0, 1))
        return x

    def get_config(self) -> dict:
        return {**super().get_config(), "drop_prob": self.drop_prob}


def stochastic_depth() -> keras.Model:
    inputs = keras.Input(IMAGE)
    x = layers.Conv2D(3, 1)(inputs)
    x = layers.BatchNormalization()(layers.Add()([x, StochasticDepth()(layers.Conv2D(3, 3, padding="same")(x))]))
    return keras.Model(inputs, layers.Dense(CLASSES)(layers.Flatten()(x)))


EXACT = (
    *(vector_quantized, encoder_and_decoder),
    *(xception_blocks, vision_transformer, mlp_mixer, resnet_of_classes, layers_in_layers, layer_of_variables, antirectifier),
    *(siamese, wide_and_deep, squeeze_and_excitation, frames, stacked_cells, transferred, cloned, built_late),
    *(adapted_then_cropped, normalized_then_cropped, turned_and_moved, in_bfloat16),
    *(text_transformer, text_bidirectional, text_attention, text_in_bfloat16, text_of_one_hot),
)
RANDOM = (dropped_rows, text_dropped, augmented, stochastic_depth)
