"""Tensors of any magnitude, brought to where clipping by their norm is sound in float32."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from fedlab.privacy import LARGEST_NORM


def bounded(tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """`tensors`, float32, bit for bit where their common norm is at most `LARGEST_NORM`; else scaled down to that norm, so that
    clipping to a smaller one keeps their direction. Zeros where anything in them is NaN or infinite."""
    tensors = list(tensors)
    usual = tf.linalg.global_norm(tensors) <= LARGEST_NORM  # not so for NaN
    return tf.cond(usual, lambda: [tf.identity(t) for t in tensors], lambda: _scaled(tensors))


def _scaled(tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """As `bounded`, for any tensors. Takes several times as long."""
    finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(t)) for t in tensors])
    usable = [tf.where(finite, t, 0.0) for t in tensors]
    # Scaled before it is squared: |t| = largest · |t / largest|. The second factor lies between 1 and √n, or below 1 where
    # everything is next to zero
    largest = tf.maximum(tf.reduce_max([tf.reduce_max(tf.abs(t)) for t in usable]), 1e-30)
    allowed = LARGEST_NORM / tf.maximum(tf.linalg.global_norm([t / largest for t in usable]), 1.0)  # of the largest coordinate
    return [tf.where(largest > allowed, t / largest * allowed, t) for t in usable]
