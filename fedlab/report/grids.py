"""Grids of small images as PNG, and their changes over the rounds as an animation."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

_GAP, _SCALE = 1, 2  # pixels between two images; and how many there are for one, either way
_GREY = 96  # of the gaps
_FRAMES = 40  # at most, of an animation
_STRIP = 14  # pixels below a frame, for its round
_SHADES = 16  # of its greys, which halves its size


def save_grid(images: np.ndarray, columns: int, path: pathlib.Path) -> None:
    """Writes images [n, height, width, channels] as a PNG, row by row: uint8, or floats in [-1, 1]; one channel or three."""
    if images.dtype != np.uint8:
        images = np.rint((np.clip(images, -1, 1) + 1) * 127.5).astype(np.uint8)
    rows = -(-len(images) // columns)
    height, width = images.shape[1] + _GAP, images.shape[2] + _GAP
    sheet = np.full([rows * height + _GAP, columns * width + _GAP, images.shape[3]], _GREY, np.uint8)
    for i, image in enumerate(images):
        top, left = i // columns * height + _GAP, i % columns * width + _GAP
        sheet[top : top + images.shape[1], left : left + images.shape[2]] = image
    sheet = sheet.repeat(_SCALE, axis=0).repeat(_SCALE, axis=1)
    Image.fromarray(sheet[:, :, 0] if sheet.shape[2] == 1 else sheet).save(path, format="PNG", optimize=True)


def save_animation(grids: Sequence[pathlib.Path], path: pathlib.Path) -> None:
    """Writes PNGs of one size as a GIF that stops for a while at its end; the first and the last are always in it.

    A PNG whose name ends in a number, `round_000010.png`, has it written below: "round 10".
    """
    chosen = sorted({round(i) for i in np.linspace(0, len(grids) - 1, min(len(grids), _FRAMES))})
    frames = [_named(grids[i]).quantize(_SHADES) for i in chosen]
    milliseconds = [150] * (len(frames) - 1) + [2_000]
    frames[0].save(path, format="GIF", save_all=True, append_images=frames[1:], duration=milliseconds, loop=0, optimize=True)


def _named(path: pathlib.Path) -> Image.Image:
    """The picture, above a strip that tells its round; as it is where its name has no number."""
    picture = Image.open(path)
    found = re.search(r"^(.*?)_?0*(\d+)$", path.stem)
    if not found:
        return picture
    frame = Image.new(picture.mode, (picture.width, picture.height + _STRIP), 0)
    frame.paste(picture)
    white = 255 if picture.mode == "L" else (255, 255, 255)
    ImageDraw.Draw(frame).text((4, picture.height + 1), f"{found[1]} {int(found[2]):,}", fill=white)
    return frame
