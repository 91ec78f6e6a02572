"""Next-token prediction: a sequence of characters, and at each place the character that follows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import PositiveInt, field_validator

from fedlab.errors import DataError
from fedlab.measures import Metric
from fedlab.tasks.base import Prediction, power

if TYPE_CHECKING:
    import tensorflow as tf

PAD = 0  # the token of padding; 1, 2, … are the characters of the vocabulary
_NUM_MARKS = 4  # padding, out of vocabulary, beginning, end


class NextToken(Prediction):
    """Inputs and targets are int32 [n, `length`] tokens; the target at each place is the input at the next place.

    Tokens: 0 is padding, 1 to V are the characters of `vocabulary`, V + 1 is a character out of the vocabulary, V + 2 the
    beginning of a text, V + 3 its end: the numbering of TFF's `simulation.baselines.shakespeare`. The network returns a logit
    per token at each place, [n, length, V + 4].

    Targets that are padding count nowhere. The loss of a batch is the mean cross-entropy over its other targets, in nats;
    perplexity = exp(loss), bits per character = loss / ln 2. The accuracy counts only targets in the vocabulary: ends
    of texts and unknown characters do not count. TFF's own accuracy on Shakespeare leaves out padding only.

    A metric over several batches or clients is a quotient of sums over their targets. It is NaN without any target.
    """

    name: ClassVar[str] = "next-character prediction"
    measured: ClassVar[Mapping[str, Metric]] = {
        "accuracy": Metric("accuracy", percent=True, more_is_better=True),
        "loss": Metric("loss", unit="cross-entropy, nats per character"),
        "perplexity": Metric("perplexity"),
        "bits_per_character": Metric("bits per character"),
    }
    headline: ClassVar[str | None] = "accuracy"
    outputs_are_logits: ClassVar[bool] = True

    vocabulary: tuple[str, ...]
    length: PositiveInt

    @field_validator("vocabulary")
    @classmethod
    def _different_characters(cls, vocabulary: tuple[str, ...]) -> tuple[str, ...]:
        assert all(len(character) == 1 for character in vocabulary), vocabulary
        assert len(set(vocabulary)) == len(vocabulary), vocabulary
        return vocabulary

    @property
    def target_shape(self) -> tuple[int, ...]:
        return (self.length,)

    @property
    def num_outputs(self) -> int:
        """Returns the number of tokens."""
        return len(self.vocabulary) + _NUM_MARKS

    @property
    def output_shape(self) -> tuple[int, ...]:
        return (self.length, self.num_outputs)

    @property
    def needed_outputs(self) -> str:
        return f"{super().needed_outputs}, a logit per token at each place: use model=char_lstm, gru or transformer_tiny"

    @property
    def unknown(self) -> int:
        """Returns the token of characters out of the vocabulary."""
        return len(self.vocabulary) + 1

    @property
    def begin(self) -> int:
        """Returns the token before the first character of a text."""
        return len(self.vocabulary) + 2

    @property
    def end(self) -> int:
        """Returns the token after the last character of a text."""
        return len(self.vocabulary) + 3

    def described(self) -> dict[str, Any]:
        return {**super().described(), "vocabulary": "".join(self.vocabulary), "length": self.length}

    def text(self, tokens: np.ndarray) -> str:
        """Returns the text of tokens [length], without padding and marks; � stands for a character out of the vocabulary."""
        characters = ["", *self.vocabulary, "\ufffd", "", ""]
        return "".join(characters[token] for token in tokens)

    def check_inputs(self, x: np.ndarray) -> None:
        self._check_tokens("inputs", x)

    def check_targets(self, y: np.ndarray) -> None:
        self._check_tokens("targets", y)

    def _check_tokens(self, which: str, tokens: np.ndarray) -> None:
        if len(tokens) and not 0 <= tokens.min() <= tokens.max() < self.num_outputs:
            raise DataError(f"{which} outside [0, {self.num_outputs}), which are no tokens.")

    def losses(self, outputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        import tensorflow as tf

        nats, tokens = self._nats(outputs, targets)
        return tf.math.divide_no_nan(nats, tokens)

    def loss(self, outputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """Returns the mean over the targets of the whole batch, so that each character has the same weight."""
        import tensorflow as tf

        nats, tokens = self._nats(outputs, targets)
        return tf.math.divide_no_nan(tf.reduce_sum(nats), tf.reduce_sum(tokens))

    def counts(self, outputs: tf.Tensor, targets: tf.Tensor) -> Mapping[str, tf.Tensor]:
        import tensorflow as tf

        nats, tokens = self._nats(outputs, targets)
        in_vocabulary = tf.not_equal(targets, PAD) & (targets <= len(self.vocabulary))
        right = in_vocabulary & tf.equal(tf.argmax(outputs, -1, tf.int32), targets)
        return {
            "nats": nats,
            "tokens": tokens,
            "correct": tf.reduce_sum(tf.cast(right, tf.float32), 1),
            "characters": tf.reduce_sum(tf.cast(in_vocabulary, tf.float32), 1),
        }

    def metrics(self, sums: Mapping[str, Any]) -> Mapping[str, Any]:
        with np.errstate(over="ignore", invalid="ignore"):
            loss = sums["nats"] / sums["tokens"]
            return {
                "loss": loss,
                "accuracy": sums["correct"] / sums["characters"],
                "perplexity": power(math.e, loss),
                "bits_per_character": loss / math.log(2),
            }

    def predictions(self, outputs: tf.Tensor) -> tf.Tensor:
        """Returns the probability of each token at each place: [n, length, tokens]."""
        import tensorflow as tf

        return tf.nn.softmax(outputs)

    def _nats(self, outputs: tf.Tensor, targets: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns, for each example, the cross-entropy summed over the targets that are not padding, and their number: [n]."""
        import tensorflow as tf

        counted = tf.cast(tf.not_equal(targets, PAD), tf.float32)
        each = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=targets, logits=outputs)
        return tf.reduce_sum(counted * each, 1), tf.reduce_sum(counted, 1)
