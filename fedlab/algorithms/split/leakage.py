"""Distance correlation: the similarity of the images' geometry and that of the activations that cross the cut."""

from __future__ import annotations

import tensorflow as tf

_TINY = 1e-12


def squared_distance_correlation(x: tf.Tensor, z: tf.Tensor) -> tf.Tensor:
    """Returns dCor² of x [n, …] and z [n, …], a scalar in [0, 1] (Székely et al. 2007, definition 5, the sample statistic).

    It is biased: for two independent samples it is above 0, and grows with fewer examples and with more dimensions. It is 1 if z
    is a scaled rotation of x, and 0 if either is constant.
    """
    a, b = _centred_distances(x), _centred_distances(z)
    covariance, variances = tf.reduce_mean(a * b), tf.reduce_mean(a * a) * tf.reduce_mean(b * b)
    return tf.math.divide_no_nan(covariance, tf.sqrt(tf.maximum(variances, _TINY**2)))


def _centred_distances(x: tf.Tensor) -> tf.Tensor:
    """Returns Euclidean distances [n, n] between examples, with the means of rows and columns subtracted."""
    flat = tf.reshape(x, [tf.shape(x)[0], -1])
    flat -= tf.reduce_mean(flat, 0)  # distances do not change, and their differences lose fewer digits
    squares = tf.reduce_sum(flat * flat, 1)
    squared = squares[:, None] + squares[None, :] - 2 * tf.matmul(flat, flat, transpose_b=True)
    apart = (squared > _TINY) & ~tf.eye(tf.shape(flat)[0], dtype=tf.bool)
    distances = tf.where(apart, tf.sqrt(tf.where(apart, squared, 1.0)), 0.0)  # the gradient of a root at 0 is infinite
    return distances - tf.reduce_mean(distances, 0) - tf.reduce_mean(distances, 1)[:, None] + tf.reduce_mean(distances)
