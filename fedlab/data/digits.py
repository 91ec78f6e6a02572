"""1,797 real handwritten digits that scikit-learn ships, for training without a network."""

from __future__ import annotations

import gzip
import importlib.util
import pathlib
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
        images, labels = read_digits()
        return ExampleSet(upscale(images), labels.astype(np.int32), num_classes=10), None


def read_digits() -> tuple[np.ndarray, np.ndarray]:
    """Returns what scikit-learn's `load_digits` returns: images float64 [1797, 8, 8] with values 0 to 16, and labels [1797].

    Reads scikit-learn's file without importing scikit-learn, which takes longer than everything else that this source does.
    """
    package = importlib.util.find_spec("sklearn")
    for folder in (package and package.submodule_search_locations) or ():
        file = pathlib.Path(folder, "datasets", "data", "digits.csv.gz")
        if file.is_file():
            with gzip.open(file, "rt", encoding="ascii") as lines:
                rows = np.loadtxt(lines, delimiter=",")
            return rows[:, :-1].reshape(-1, 8, 8), rows[:, -1].astype(int)
    from sklearn.datasets import load_digits  # another version of scikit-learn may store the file elsewhere

    digits = load_digits()
    return digits.images, digits.target


def upscale(images: np.ndarray) -> np.ndarray:
    """Scales [N, 8, 8] with values 0 to 16 up to uint8 [N, 28, 28, 1], by cubic splines."""
    from scipy import ndimage

    # Spline interpolation is linear and separable: applied to the unit vectors, it gives the matrix that scales any image
    matrix = ndimage.zoom(np.eye(8), (20 / 8, 1), order=3, mode="grid-constant", grid_mode=True)
    matrix = np.pad(matrix, ((4, 4), (0, 0)))
    pixels = np.clip(matrix @ images @ matrix.T * (255 / 16), 0, 255)
    return np.rint(pixels).astype(np.uint8)[..., np.newaxis]
