"""Feature shift: every client's inputs differ from the others', each to a degree of its own; targets stay as they are."""

from __future__ import annotations

import abc
from typing import Literal

import numpy as np
from pydantic import Field

from fedlab.corruption.base import Corruption, number_of
from fedlab.corruption.kinds import Corrupted, require_images
from fedlab.errors import DataError
from fedlab.randomness import generator


class Shift(Corruption):
    """Changes the inputs of all users, each to a degree in [0, 1]. `fraction` is 1 unless it is given.

    `degree`: growing: the i-th of N users has i / N, in the order of the partition or, with user ids, of the ids. drawn: a
    uniform draw, which depends only on the seed and the user's id.
    """

    fraction: float = Field(1.0, ge=0, le=1)
    degree: Literal["growing", "drawn"] = "growing"

    def _degree(self, user: str, place: float, seed: int) -> float:
        return place if self.degree == "growing" else float(generator(seed, "degree of corruption", number_of(user)).random())

    @abc.abstractmethod
    def _corrupt_to(
        self, degree: float, x: np.ndarray, y: np.ndarray, num_classes: int, rng: np.random.Generator
    ) -> Corrupted: ...

    def _corrupt(self, x: np.ndarray, y: np.ndarray, num_classes: int, rng: np.random.Generator) -> Corrupted:
        return self._corrupt_to(1.0, x, y, num_classes, rng)


class FeatureNoise(Shift):
    """Adds Gaussian noise of variance `variance` · degree (Li, Q. et al. 2022, section 4: noise-based feature imbalance).

    `variance`: at least 0, where images range from 0 to 1; images of whole numbers stay from 0 to 255. Other inputs get the noise
    in their own units.
    """

    variance: float = Field(0.1, ge=0)

    def _corrupt_to(self, degree: float, x: np.ndarray, y: np.ndarray, num_classes: int, rng: np.random.Generator) -> Corrupted:
        if x.dtype == np.int32:
            raise DataError("corruption=noise needs images or numbers, and the examples of this data are sequences of tokens.")
        noise = np.sqrt(self.variance * degree) * rng.standard_normal(x.shape, np.float32)
        if x.dtype == np.uint8:
            return np.clip(np.rint(x + 255 * noise), 0, 255).astype(np.uint8), y
        return (x + noise).astype(x.dtype), y


class Rotation(Shift):
    """Rotates images by `angle` · degree around their centre, counter-clockwise, with linear interpolation.

    `angle`: in degrees, from -180 to 180. Pixels from outside an image are those of its nearest edge.
    """

    angle: float = Field(45.0, ge=-180, le=180)

    def _corrupt_to(self, degree: float, x: np.ndarray, y: np.ndarray, num_classes: int, rng: np.random.Generator) -> Corrupted:
        from scipy.ndimage import rotate

        require_images(x, "rotation")
        turned = rotate(x.astype(np.float32), self.angle * degree, axes=(2, 1), reshape=False, order=1, mode="nearest")
        return (np.rint(turned) if x.dtype == np.uint8 else turned).astype(x.dtype), y
