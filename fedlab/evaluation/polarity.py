"""Polarity of images, dark on light or light on dark: a test that needs no labels and no model."""

from __future__ import annotations

import numpy as np

FRAME = 2  # pixels; digits do not reach the edges of their images


def has_light_background(images: np.ndarray) -> np.ndarray:
    """Returns bool [n]: True if the median of the outermost `FRAME` pixels on all sides is in the upper half of the range.

    `images` [n, height, width] or [n, height, width, channels]: uint8, or floats in [0, 1].
    """
    inside = np.zeros(images.shape[1:3], bool)
    inside[FRAME:-FRAME, FRAME:-FRAME] = True
    middle = 127.5 if images.dtype == np.uint8 else 0.5
    frame = images[:, ~inside].reshape(len(images), -1)
    return np.median(frame, axis=1) > middle


def polarity(images: np.ndarray) -> float:
    """Returns the share of images with a light background."""
    return float(has_light_background(images).mean())
