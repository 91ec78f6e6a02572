"""1,797 real handwritten digits that scikit-learn ships, for training without a network."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from fedlab.data.source import Published, Source
from fedlab.types import ExampleSet


class Digits(Source):
    """The 8×8 digits of Alpaydin and Kaynak (1998, UCI), white on black, scaled up to MNIST's geometry.

    x uint8 [N, 28, 28, 1]: each digit fills MNIST's 20×20 box, with the same margin of 4. No user ids, no test set of its own.
    """

    name: ClassVar[str] = "digits"

    @property
    def published(self) -> Published:
        return Published(train=1_797, test=0, classes=10)

    def _read(self) -> tuple[ExampleSet, ExampleSet | None]:
        from sklearn.datasets import load_digits  # slow to import, and only this source needs it

        digits = load_digits()
        return ExampleSet(upscale(digits.images), digits.target.astype(np.int32), num_classes=10), None


def upscale(images: np.ndarray) -> np.ndarray:
    """Scales [N, 8, 8] with values 0 to 16 up to uint8 [N, 28, 28, 1], by cubic splines."""
    from scipy import ndimage

    # Spline interpolation is linear and separable: applied to the unit vectors, it gives the matrix that scales any image
    matrix = ndimage.zoom(np.eye(8), (20 / 8, 1), order=3, mode="grid-constant", grid_mode=True)
    matrix = np.pad(matrix, ((4, 4), (0, 0)))
    pixels = np.clip(matrix @ images @ matrix.T * (255 / 16), 0, 255)
    return np.rint(pixels).astype(np.uint8)[..., np.newaxis]
