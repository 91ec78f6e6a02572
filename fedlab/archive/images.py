"""The images that a generator makes over the rounds: images/round_000010.png holds those of round 10, in a grid."""

from __future__ import annotations

import pathlib

import numpy as np
from PIL import Image

from fedlab.archive.folder import RunFolder, make_folder, replacing

_GAP, _SCALE = 1, 2  # pixels between two images; enlargement in both directions
_GREY = 96  # the grey of the gaps
_PREFIX = "round_"


def write_round(folder: RunFolder, round_num: int, images: np.ndarray, columns: int) -> None:
    """Writes the images of a round, as `save_grid` does, into images/ of `folder`."""
    make_folder(folder.images)
    with replacing(folder.images / f"{_PREFIX}{round_num:06d}.png") as partial:
        save_grid(images, columns, partial)


def grids(folder: RunFolder) -> dict[int, pathlib.Path]:
    """Returns the files of `write_round` by their rounds, in ascending order; {} if there are none."""
    named = ((path.stem.removeprefix(_PREFIX), path) for path in folder.images.glob(f"{_PREFIX}*.png"))
    return dict(sorted((int(number), path) for number, path in named if number.isdecimal()))


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
