"""Decodes image files to arrays of one size and one number of channels."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterable
from typing import Literal

import numpy as np

from fedlab.errors import DataError, one_line

Color = Literal["auto", "rgb", "gray"]
_SHOWN = 3  # sizes that an error quotes


def decoded(
    images: Iterable[tuple[str, Callable[[], bytes]]], path: str, size: tuple[int, int] | None, color: Color
) -> np.ndarray:
    """Returns uint8 [N, height, width, channels].

    `images`: each one's name, for errors, and a function that returns the content of its file. `path`: of the data, for errors.
    `size`: height and width to which images are scaled (bilinear); None: all must have one size. `color`: `auto` is `gray` (one
    channel) if every image is gray, else `rgb` (three). Transparency is dropped, and photographs are turned upright. Raises
    `DataError`.
    """
    from PIL import Image, ImageOps

    found, gray = [], color != "rgb"
    for name, read in images:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                opened = Image.open(io.BytesIO(read()))
                opened.load()
        except Exception as error:  # of the file system, of zip files, of each image format
            raise DataError(f"{path}: {name} is not a readable image ({one_line(error)}).") from None
        if opened.mode.startswith(("I", "F")):
            raise DataError(f"{path}: {name} has more than 8 bits per channel: store it with 8.")
        turned = ImageOps.exif_transpose(opened)
        gray = gray and (color == "gray" or turned.mode in ("1", "L", "LA"))
        turned = turned if turned.mode in ("L", "RGB") else turned.convert("L" if turned.mode in ("1", "LA") else "RGB")
        found.append(turned if size is None else turned.resize(size[::-1], Image.Resampling.BILINEAR))
    sizes = sorted({each.size for each in found})
    if len(sizes) > 1:
        shown = ", ".join(f"{height}×{width}" for width, height in sizes[:_SHOWN]) + (", …" if len(sizes) > _SHOWN else "")
        raise DataError(
            f"{path}: the images have {len(sizes)} sizes ({shown}): set data.size, such as "
            f"data.size=[{sizes[0][1]},{sizes[0][0]}]."
        )
    mode = "L" if gray else "RGB"
    stacked = np.stack([np.asarray(each if each.mode == mode else each.convert(mode)) for each in found])
    return stacked[..., np.newaxis] if gray else stacked
