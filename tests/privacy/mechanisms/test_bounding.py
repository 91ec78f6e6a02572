"""Updates of any magnitude, made fit for clipping."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tensorflow as tf

from fedlab.privacy import LARGEST_NORM
from fedlab.privacy.bounding import bounded

MAGNITUDES = [0.0, 1e-45, 1e-38, 1e-20, 1.0, 1e17, 1e19, 1.8e19, 1.9e19, 1e25, 3e38, np.inf, np.nan]
SIZES = (7, 3000)


def spread(magnitudes):
    """A tensor of each size, whose entries are of the magnitude given for it, with either sign."""
    rng = np.random.default_rng(0)
    given = [np.full(n, m) * rng.uniform(0.5, 1, n) * rng.choice([-1, 1], n) for n, m in zip(SIZES, magnitudes)]
    with np.errstate(over="ignore"):
        return [np.float32(t) for t in given]


@pytest.mark.parametrize("clip_norm", [1e-3, 1.0, 1e6])
def test_whatever_is_clipped_afterwards_is_within_the_norm_and_keeps_its_direction(clip_norm):
    for magnitudes in itertools.product(MAGNITUDES, repeat=len(SIZES)):
        given = spread(magnitudes)
        clipped, _ = tf.clip_by_global_norm(bounded([tf.constant(t) for t in given]), clip_norm)
        flat = np.concatenate([t.numpy() for t in clipped]).astype(np.float64)
        wanted = np.concatenate(given).astype(np.float64)
        assert np.linalg.norm(flat) <= clip_norm * (1 + 1e-5), magnitudes  # rounding of a sum of 3,007 squares in float32
        if not np.isfinite(wanted).all():
            assert not flat.any(), magnitudes
        elif np.linalg.norm(wanted) > clip_norm:
            np.testing.assert_allclose(flat, wanted * (clip_norm / np.linalg.norm(wanted)), rtol=1e-4, atol=1e-6 * clip_norm)


def test_ordinary_updates_keep_every_bit():
    for magnitudes in itertools.product([0.0, 1e-38, 1e-20, 1.0, 1e16], repeat=len(SIZES)):
        given = spread(magnitudes)
        assert np.linalg.norm(np.concatenate(given).astype(np.float64)) < LARGEST_NORM
        for before, after in zip(given, bounded([tf.constant(t) for t in given])):
            assert before.tobytes() == after.numpy().tobytes(), magnitudes
