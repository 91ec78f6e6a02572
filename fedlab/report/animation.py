"""The images of a generator over the rounds, as an animation."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

_FRAMES = 40  # maximum of an animation
_STRIP = 14  # pixels below a frame, for the number of its round
_SHADES = 16  # grey levels of an animation; few, because that halves its size


def save_animation(grids: Sequence[pathlib.Path], path: pathlib.Path) -> None:
    """Writes PNGs of one size as a GIF that pauses at its end. The first and the last PNG are always included.

    A PNG whose name ends in a number, such as `round_000010.png`, gets the caption "round 10".
    """
    chosen = sorted({round(i) for i in np.linspace(0, len(grids) - 1, min(len(grids), _FRAMES))})
    frames = [_named(grids[i]).quantize(_SHADES) for i in chosen]
    milliseconds = [150] * (len(frames) - 1) + [2_000]
    frames[0].save(path, format="GIF", save_all=True, append_images=frames[1:], duration=milliseconds, loop=0, optimize=True)


def _named(path: pathlib.Path) -> Image.Image:
    """Returns the picture above a strip with its round; unchanged if its name has no number."""
    picture = Image.open(path)
    found = re.search(r"^(.*?)_?0*(\d+)$", path.stem)
    if not found:
        return picture
    frame = Image.new(picture.mode, (picture.width, picture.height + _STRIP), 0)
    frame.paste(picture)
    white = 255 if picture.mode == "L" else (255, 255, 255)
    ImageDraw.Draw(frame).text((4, picture.height + 1), f"{found[1]} {int(found[2]):,}", fill=white)
    return frame
