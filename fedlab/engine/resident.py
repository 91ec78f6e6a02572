"""Examples that stay on the engines' device. Engines of one process share them: the arms of a run need one copy of their data."""

from __future__ import annotations

import weakref

import tensorflow as tf

from fedlab.types import ExampleSet

_RESIDENT: weakref.WeakKeyDictionary[ExampleSet, tuple[tf.Tensor, tf.Tensor]] = weakref.WeakKeyDictionary()


def resident(examples: ExampleSet) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns `examples.x` and `examples.y` as tensors, copied once for as long as `examples` is in use."""
    if examples not in _RESIDENT:
        _RESIDENT[examples] = tf.constant(examples.x), tf.constant(examples.y)
    return _RESIDENT[examples]
