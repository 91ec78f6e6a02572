"""Optimizer steps inside a loop."""

from __future__ import annotations

import collections
from collections.abc import Callable
from typing import Any

import tensorflow as tf
import tensorflow_federated as tff

Tensors = tuple[tf.Tensor, ...]
# (weights, gradient, carried) → (weights, carried)
Apply = Callable[[Tensors, Tensors, collections.OrderedDict], tuple[Tensors, collections.OrderedDict]]


def steps_of(
    optimizer: tff.learning.optimizers.Optimizer, state: collections.OrderedDict, factor: Any = 1.0
) -> tuple[collections.OrderedDict, Apply]:
    """Returns the part of an optimizer's `state` that a loop carries, and a step whose learning rate is multiplied by `factor`.

    Every variable that a loop carries costs five ops per step, so hyperparameters, which do not change, are not carried.
    """
    # Tensors, because TFF's Adam raises beta to the power of its integer step only if beta is a tensor
    hparams = tf.nest.map_structure(tf.convert_to_tensor, optimizer.get_hparams(state))
    hparams[tff.learning.optimizers.LEARNING_RATE_KEY] *= factor
    names = list(state)

    def apply(weights, gradient, carried):
        whole = collections.OrderedDict((k, carried[k] if k in carried else hparams[k]) for k in names)
        whole, weights = optimizer.next(whole, weights, gradient)
        return tuple(weights), collections.OrderedDict((k, whole[k]) for k in carried)

    return collections.OrderedDict((k, v) for k, v in state.items() if k not in hparams), apply


def first_steps(
    optimizer: tff.learning.optimizers.Optimizer, weights: Tensors, factor: Any = 1.0
) -> tuple[collections.OrderedDict, Apply]:
    """Like `steps_of`, with a new state for tensors like `weights`."""
    specs = tf.nest.map_structure(tf.TensorSpec.from_tensor, weights)
    return steps_of(optimizer, optimizer.initialize(specs), factor)
