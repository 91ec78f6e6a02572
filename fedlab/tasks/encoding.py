"""Converts stored arrays to a model's inputs."""

from __future__ import annotations

import numpy as np
import tensorflow as tf


def as_model_input(x: tf.Tensor) -> tf.Tensor:
    """Converts raw examples to model inputs: uint8 images [0, 255] become float32 in [0, 1], others stay unchanged."""
    return tf.cast(x, tf.float32) * (1.0 / 255.0) if x.dtype == tf.uint8 else x


def input_dtype(dtype: np.dtype) -> tf.DType:
    """Returns the type of the model inputs for raw examples of type `dtype`: int32 for int32, else float32."""
    return tf.int32 if dtype == np.int32 else tf.float32
