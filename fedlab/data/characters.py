"""Images of characters by writer: what federated EMNIST's files have in common, whatever their format."""

from __future__ import annotations

import dataclasses

import numpy as np

from fedlab.errors import DataError
from fedlab.tasks import Classification
from fedlab.types import ExampleSet

SIDE = 28  # pixels of a row, and rows
NUM_DIGITS = 10
NUM_CLASSES = 62  # 0 to 9: digits; 10 to 35: upper case; 36 to 61: lower case
NUM_MERGED = 36  # upper and lower case as one class


def white_on_black(pixels: np.ndarray) -> np.ndarray:
    """Returns images uint8 [n, 28, 28, 1] in which 255 is ink, from numbers [n, 28, 28] in which 0 is ink and 1 is paper.

    A pixel p becomes round(255 (1 − p)), which is exact for images that were published with 256 levels. Raises `ValueError` for
    pixels that are no numbers in [0, 1].
    """
    if pixels.dtype.kind not in "iuf":
        raise ValueError(f"pixels must be numbers in [0, 1], not {pixels.dtype}")
    low, high = (pixels.min(), pixels.max()) if pixels.size else (0, 0)  # NaN if any pixel is
    if not (low >= 0 and high <= 1):
        raise ValueError(f"pixels must be in [0, 1] (0: ink, 1: paper), and are from {low:g} to {high:g}")
    return np.round(255.0 * (1.0 - pixels)).astype(np.uint8)[..., np.newaxis]


def checked_labels(labels: np.ndarray, num_images: int) -> np.ndarray:
    """Returns labels int32 [n]. Raises `ValueError` unless there is one integer from 0 to 61 per image."""
    if labels.dtype.kind not in "iu" or labels.ndim != 1:
        raise ValueError(f"labels must be a list of integers, not {labels.dtype} of shape {labels.shape}")
    if len(labels) != num_images:
        raise ValueError(f"there are {num_images:,} images and {len(labels):,} labels")
    low, high = (int(labels.min()), int(labels.max())) if len(labels) else (0, 0)
    if low < 0 or high >= NUM_CLASSES:
        raise ValueError(f"labels must be from 0 to {NUM_CLASSES - 1}, and are from {low} to {high}")
    return labels.astype(np.int32)


def empty_images(num_images: int) -> np.ndarray:
    """Returns an array uint8 [n, 28, 28, 1] to fill. Raises `DataError` if the machine's memory cannot hold it."""
    import psutil

    available = psutil.virtual_memory().available
    num_bytes = num_images * SIDE * SIDE
    if num_bytes > available:
        raise DataError(
            f"{num_images:,} images need {num_bytes / 1e9:,.1f} GB of memory, and {available / 1e9:,.1f} GB are available."
        )
    return np.empty((num_images, SIDE, SIDE, 1), np.uint8)


def case_merged(examples: ExampleSet) -> ExampleSet:
    """Merges the last 26 of the 62 classes (digits, upper case, lower case) into the 26 before them."""
    y = np.where(examples.y >= NUM_MERGED, examples.y - (NUM_CLASSES - NUM_MERGED), examples.y).astype(np.int32)
    return dataclasses.replace(examples, y=y, task=Classification(num_classes=NUM_MERGED))
