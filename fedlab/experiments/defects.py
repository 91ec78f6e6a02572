"""Mistakes to find: each is an ordinary option of an arm, wrong in one place. conf/experiment/difftest has the experiments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fedlab.algorithms.optimizers import Exponential
from fedlab.models import Mlp

if TYPE_CHECKING:
    import tensorflow as tf


class RoundTooEarly(Exponential):
    """`Exponential` with an off-by-one: the first round is taken for the second, and every decay comes a round too early."""

    def factor(self, round_num: Any) -> Any:
        return super().factor(round_num + 1)


class SoftmaxTwice(Mlp):
    """`Mlp` under a wrong loss: it ends in a softmax, and the cross-entropy, which expects logits, puts another on top."""

    def __call__(self, input_shape: tuple[int, ...], num_classes: int) -> tf.keras.Model:
        import tensorflow as tf

        model = super().__call__(input_shape, num_classes)
        model.add(tf.keras.layers.Softmax())
        model.outputs_are_logits = True  # so it says, and is not refused
        return model
