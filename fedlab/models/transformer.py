"""A small transformer that predicts the next token of a sequence. TensorFlow is imported when a model is built."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import PositiveInt, model_validator

from fedlab.errors import ConfigError
from fedlab.models.zoo import Rate
from fedlab.spec import Spec

if TYPE_CHECKING:
    import tensorflow as tf


class Transformer(Spec):
    """A decoder of the kind of GPT-2 (Vaswani et al. 2017; Radford et al. 2019), and at each place the logits of the next token.

    Tokens have vectors of size `embedding`, which one matrix maps to `width`; each place adds a learned vector. Then come
    `num_blocks` blocks of causal attention with `num_heads` heads, and of two dense layers with `hidden` GELU units between them.
    Each block adds to its input, after layer normalization of it. `dropout`: rate in [0, 1), on the attention weights and on what
    blocks add. `width` must be a multiple of `num_heads`.

    112,298 weights for 90 tokens and sequences of 80.
    """

    embedding: PositiveInt = 8
    width: PositiveInt = 64
    num_heads: PositiveInt = 4
    num_blocks: PositiveInt = 2
    hidden: PositiveInt = 256
    dropout: Rate = 0.0

    @model_validator(mode="after")
    def _heads_of_equal_size(self) -> Transformer:
        if self.width % self.num_heads:
            raise ValueError(f"width = {self.width} is no multiple of num_heads = {self.num_heads}")
        return self

    def __call__(self, input_shape: tuple[int, ...], num_classes: int) -> tf.keras.Model:
        """`input_shape`: [length], of int32 tokens; `num_classes`: the number of tokens. Raises `ConfigError`."""
        import tensorflow as tf

        if len(input_shape) != 1:
            raise ConfigError(
                f"model transformer_tiny needs sequences of tokens [length], the data has {list(input_shape)}: use "
                "data=shakespeare or data=text, or another model."
            )
        layers = tf.keras.layers
        tokens = tf.keras.Input(input_shape, dtype="int32")
        x = layers.Embedding(num_classes, self.embedding)(tokens)
        x = layers.EinsumDense(  # its bias, [length, width], holds the vectors of the places
            "nte,ew->ntw", (input_shape[0], self.width), bias_axes="tw", bias_initializer="random_normal"
        )(x)
        for _ in range(self.num_blocks):
            y = layers.LayerNormalization(epsilon=1e-5)(x)
            heads = layers.MultiHeadAttention(self.num_heads, self.width // self.num_heads, dropout=self.dropout)
            x = layers.Add()([x, self._dropped(heads(y, y, use_causal_mask=True))])
            y = layers.LayerNormalization(epsilon=1e-5)(x)
            y = layers.Dense(self.width)(layers.Dense(self.hidden, "gelu")(y))
            x = layers.Add()([x, self._dropped(y)])
        return tf.keras.Model(tokens, layers.Dense(num_classes)(layers.LayerNormalization(epsilon=1e-5)(x)))

    def _dropped(self, x: tf.Tensor) -> tf.Tensor:
        import tensorflow as tf

        return tf.keras.layers.Dropout(self.dropout)(x) if self.dropout else x
