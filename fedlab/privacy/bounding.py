"""Scales tensors of any magnitude so that clipping by their norm is safe in float32."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from fedlab.privacy import LARGEST_NORM


def bounded(tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """Returns float32 `tensors`, bit for bit if their common norm is at most `LARGEST_NORM`; otherwise scaled down to that norm,
    so that clipping to a smaller norm keeps their direction. Returns zeros if any value is NaN or infinite."""
    tensors = list(tensors)
    usual = tf.linalg.global_norm(tensors) <= LARGEST_NORM  # False for NaN
    return tf.cond(usual, lambda: [tf.identity(t) for t in tensors], lambda: _scaled(tensors))


def _scaled(tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """Does the same as `bounded` for any tensors, but takes several times as long."""
    finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(t)) for t in tensors])
    usable = [tf.where(finite, t, 0.0) for t in tensors]
    # Scale before squaring: |t| = largest · |t / largest|. The second factor is between 1 and √n, or below 1 if all values are
    # close to zero
    largest = tf.maximum(tf.reduce_max([tf.reduce_max(tf.abs(t)) for t in usable]), 1e-30)
    allowed = LARGEST_NORM / tf.maximum(
        tf.linalg.global_norm([t / largest for t in usable]), 1.0
    )  # bound of the largest coordinate
    return [tf.where(largest > allowed, t / largest * allowed, t) for t in usable]
