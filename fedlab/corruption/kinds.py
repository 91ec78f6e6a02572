"""The built-in bugs, and `Function` for a user's own bug."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field, ImportString, PositiveFloat

from fedlab.corruption.base import Corruption, check_targets
from fedlab.errors import DataError, one_line
from fedlab.tasks import Classification
from fedlab.types import Dataset, Partition

Corrupted = tuple[np.ndarray, np.ndarray]


class NoCorruption(Corruption):
    """No bug: returns the data unchanged, without a copy."""

    fraction: Literal[0] = 0
    users: None = None
    held_out: Literal[True] = True

    def affected(self, dataset: Dataset, partition: Partition, seed: int) -> dict[str, bool]:
        return {}

    def _corrupt(self, x: np.ndarray, y: np.ndarray, num_classes: int, rng: np.random.Generator) -> Corrupted:
        raise AssertionError("nobody is affected")


class Inversion(Corruption):
    """Inverts images: 255 − x, or 1 − x of floats in [0, 1] (Augenstein et al. 2020, section 6). Applied twice, it cancels."""

    def _corrupt(self, x: np.ndarray, y: np.ndarray, num_classes: int, rng: np.random.Generator) -> Corrupted:
        return _brightest(x, "inversion") - x, y


class LabelFlip(Corruption):
    """Changes every label y to num_classes − 1 − y; images stay unchanged. Applied twice, it cancels."""

    needs_classes: ClassVar[bool] = True

    def _corrupt(self, x: np.ndarray, y: np.ndarray, num_classes: int, rng: np.random.Generator) -> Corrupted:
        return x, (num_classes - 1 - y).astype(np.int32)


class Blur(Corruption):
    """Blurs images: a Gaussian filter over height and width. `sigma`: positive, in pixels."""

    sigma: PositiveFloat = 2.0

    def _corrupt(self, x: np.ndarray, y: np.ndarray, num_classes: int, rng: np.random.Generator) -> Corrupted:
        from scipy.ndimage import gaussian_filter

        require_images(x, "blur")
        blurred = gaussian_filter(x.astype(np.float32), (0, self.sigma, self.sigma, 0), mode="nearest")
        return (np.rint(blurred) if x.dtype == np.uint8 else blurred).astype(x.dtype), y


class Occlusion(Corruption):
    """Covers each image with a square of one brightness, like a sticker on the lens.

    `side`: in (0, 1], of the square, as a share of the image's shorter side. `value`: in [0, 1], black to white. `place`: corner
    (upper left), centre, or random (drawn for each image).
    """

    side: float = Field(0.4, gt=0, le=1)
    value: float = Field(1.0, ge=0, le=1)
    place: Literal["corner", "centre", "random"] = "corner"

    def _corrupt(self, x: np.ndarray, y: np.ndarray, num_classes: int, rng: np.random.Generator) -> Corrupted:
        require_images(x, "occlusion")
        brightness = self.value * _brightest(x, "occlusion")
        height, width = x.shape[1:3]
        side = max(1, round(self.side * min(height, width)))
        for image in x:
            if self.place == "random":
                top, left = rng.integers(height - side + 1), rng.integers(width - side + 1)
            else:
                top, left = (0, 0) if self.place == "corner" else ((height - side) // 2, (width - side) // 2)
            image[top : top + side, left : left + side] = brightness
        return x, y


class Function(Corruption):
    """A user's own bug. `function`: its import path, such as my_bugs.smear. It is called for each affected user, as
    `function(x, y, rng, **options)` with the user's examples x [n, …] and y [n] and a NumPy generator, and returns x and y of the
    same shapes, types and classes.
    """

    reaches_out: ClassVar[tuple[str, ...]] = ("function",)

    function: ImportString[Callable[..., Any]]
    options: dict[str, Any] = {}

    def _corrupt(self, x: np.ndarray, y: np.ndarray, num_classes: int, rng: np.random.Generator) -> Corrupted:
        name = getattr(self.function, "__name__", "function")
        try:
            new_x, new_y = (np.asarray(array) for array in self.function(x.copy(), y.copy(), rng, **self.options))
        except Exception as error:
            raise DataError(f"corruption.function: {name} failed: {type(error).__name__}: {one_line(error)}.") from error
        for what, new, old in (("x", new_x, x), ("y", new_y, y)):
            if (new.shape, new.dtype) != (old.shape, old.dtype):
                raise DataError(
                    f"corruption.function: {name} returned {what} as {new.dtype} {list(new.shape)}; it must stay "
                    f"{old.dtype} {list(old.shape)}."
                )
        if not np.isfinite(new_x).all():
            raise DataError(f"corruption.function: {name} returned x with NaN or infinity; all values must be finite.")
        if num_classes:
            check_targets(f"corruption.function: {name}", new_y, Classification(num_classes=num_classes))
        return new_x, new_y


def _brightest(x: np.ndarray, name: str) -> Any:
    """Returns the value of white, in x's type. Raises `DataError` for floats outside [0, 1]."""
    if x.dtype == np.uint8:
        return np.uint8(255)
    if x.dtype == np.int32:
        raise DataError(f"corruption={name} needs images, and the examples of this data are sequences of tokens.")
    if len(x) and not 0 <= x.min() <= x.max() <= 1:
        raise DataError(
            f"corruption={name} needs uint8 images or floats in [0, 1]; the data ranges from {x.min():g} to {x.max():g}."
        )
    return np.float32(1)


def require_images(x: np.ndarray, name: str) -> None:
    if x.ndim != 4:
        raise DataError(f"corruption={name} needs images [height, width, channels], the data has {list(x.shape[1:])}.")
