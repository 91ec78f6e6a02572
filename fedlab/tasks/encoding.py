"""Converts stored arrays to a model's inputs."""

from __future__ import annotations

import tensorflow as tf


def as_model_input(x: tf.Tensor) -> tf.Tensor:
    """Converts raw examples to model inputs: uint8 images [0, 255] become float32 in [0, 1], floats stay unchanged."""
    return tf.cast(x, tf.float32) * (1.0 / 255.0) if x.dtype == tf.uint8 else x
