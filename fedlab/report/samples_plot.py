"""The picture of samples: images of each class, or of each client, in rows."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from fedlab.report.inches import LINE, PAD, TICK, axes_at, widest
from fedlab.report.texts import literal, shortened

_WIDTH, _GAP = 10, 0.3  # inches: of the picture, and between two panels
_BORDER = 1  # pixels between two images
_GRAY = 0.38  # of the borders, and of places without an image


@literal
def plot_samples(
    panels: Mapping[str, Sequence[np.ndarray]], names: Sequence[str], path: str | os.PathLike, title: str = ""
) -> None:
    """Writes a PNG with the panels side by side, each with its heading.

    A panel has a row of images per name: [n, height, width, channels], uint8 or float, n from 0 to any number; channels 1 or 3.
    Floats are scaled so that the smallest value of all panels is black and the largest white.
    """
    names = list(map(shortened, names))
    whole = np.concatenate([row.ravel() for rows in panels.values() for row in rows])
    low, high = (0.0, 255.0) if whole.dtype == np.uint8 else (float(whole.min()), float(whole.max()))
    columns = max(len(row) for rows in panels.values() for row in rows)
    sheets = [_sheet(rows, columns, low, (high - low) or 1.0) for rows in panels.values()]
    left = PAD + widest(names) + TICK
    width = (_WIDTH - left - PAD - _GAP * (len(sheets) - 1)) / len(sheets)
    height = width * sheets[0].shape[0] / sheets[0].shape[1]
    headings = LINE + PAD if any(panels) else 0
    figure = Figure(figsize=(_WIDTH, PAD + height + headings + LINE + 2 * PAD))
    figure.text(0.5, 1 - PAD / figure.get_figheight(), title, fontsize=11, ha="center", va="top")
    for i, (heading, sheet) in enumerate(zip(panels, sheets)):
        axes = axes_at(figure, left + i * (width + _GAP), PAD, width, height)
        axes.imshow(sheet, interpolation="nearest", vmin=0, vmax=1)
        axes.set_title(heading, fontsize=10)
        row_height = sheet.shape[0] / len(names)
        axes.set_yticks([(r + 0.5) * row_height - 0.5 for r in range(len(names))], names if i == 0 else [])
        axes.set_xticks([])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    figure.savefig(path, dpi=150, format="png")


def _sheet(rows: Sequence[np.ndarray], columns: int, low: float, span: float) -> np.ndarray:
    """Returns the images of a panel in one image [height, width, 3], from 0 to 1."""
    height, width = rows[0].shape[1] + _BORDER, rows[0].shape[2] + _BORDER
    sheet = np.full([len(rows) * height, columns * width, 3], _GRAY)
    for r, row in enumerate(rows):
        for c, image in enumerate(row):
            scaled = (image.astype(np.float64) - low) / span
            sheet[r * height : (r + 1) * height - _BORDER, c * width : (c + 1) * width - _BORDER] = scaled
    return sheet
