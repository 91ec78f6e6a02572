"""Recurrent networks that predict the next token of a sequence. TensorFlow is imported when a model is built."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, PositiveInt

from fedlab.errors import ConfigError
from fedlab.spec import Spec

if TYPE_CHECKING:
    import tensorflow as tf


class Recurrent(Spec):
    """An embedding of tokens, recurrent layers of the widths `units`, and at each place the logits of the next token.

    `cell`: lstm (Hochreiter and Schmidhuber 1997) or gru (Cho et al. 2014). `embedding`: the size of a token's vector, 1 or more.

    With lstm, an embedding of 8 and units (256, 256), it is the network of Reddi et al. 2021 for Shakespeare: 820,522 weights for
    90 tokens. McMahan et al. 2017 give 866,578 for the same layers; they do not state the number of their tokens.
    """

    cell: Literal["lstm", "gru"] = "lstm"
    embedding: PositiveInt = 8
    units: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (256, 256)

    def __call__(self, input_shape: tuple[int, ...], num_classes: int) -> tf.keras.Model:
        """`input_shape`: [length], of int32 tokens; `num_classes`: the number of tokens. Raises `ConfigError`."""
        import tensorflow as tf

        if len(input_shape) != 1:
            raise ConfigError(
                f"model {self.cell} needs sequences of tokens [length], the data has {list(input_shape)}: use "
                "data=shakespeare or data=text, or another model."
            )
        layer = tf.keras.layers.LSTM if self.cell == "lstm" else tf.keras.layers.GRU
        return tf.keras.Sequential(
            [
                tf.keras.layers.InputLayer(input_shape, dtype="int32"),
                tf.keras.layers.Embedding(num_classes, self.embedding),
                *(layer(width, return_sequences=True) for width in self.units),
                tf.keras.layers.Dense(num_classes),
            ]
        )
