"""Decodes image files to arrays of one size and one number of channels."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Literal

import numpy as np

from fedlab.errors import DataError, one_line

if TYPE_CHECKING:
    import PIL.Image

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
                warnings.simplefilter("ignore")  # about damaged metadata, which is not used
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                opened = _opened(read())
                turned = ImageOps.exif_transpose(opened)
                gray = gray and (color == "gray" or turned.mode in ("1", "L", "LA"))
                turned = turned if turned.mode in ("L", "RGB") else turned.convert("L" if turned.mode in ("1", "LA") else "RGB")
        except DataError as error:
            raise DataError(f"{path}: {name} {error}.") from None
        except Exception as error:  # of the file system, of zip files, of each image format
            reason = error.strerror if isinstance(error, OSError) and error.strerror else one_line(error)
            raise DataError(f"{path}: {name} is not a readable image ({reason}).") from None
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


def _opened(content: bytes | None) -> PIL.Image.Image:
    """Returns the image of a file's content. Raises `ValueError` for other content, `DataError` for more than 8 bits."""
    from PIL import Image, UnidentifiedImageError

    if not content:
        raise ValueError("it is empty")
    try:
        opened = Image.open(io.BytesIO(content))
    except UnidentifiedImageError:
        raise ValueError("its content has no image format that is known") from None
    opened.load()
    if opened.mode.startswith(("I", "F")):
        raise DataError("has more than 8 bits per channel: store it with 8")
    return opened
