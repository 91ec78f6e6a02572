"""Pictures: a classifier's accuracy over users, and the images of two generators."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from fedlab.archive import replacing
from fedlab.report.texts import literal

_COLOURS = ("#4c72b0", "#dd8452")
_BINS = np.linspace(0, 1, 41).tolist()
_GREY = "#7b8593"
_SIDE = 6  # images per row and column of a grid
_ROWS = (("bug", "clean"), ("low", "high"))
_TITLES = {
    "clean": "real, without the bug",
    "bug": "real, with the bug",
    "low": "generated, low accuracy",
    "high": "generated, high accuracy",
}


@literal
def plot_accuracies(series: Mapping[str, np.ndarray], path: str | os.PathLike, title: str = "") -> None:
    """Writes a PNG: a histogram of users over accuracy for each of `series` ([users], in [0, 1]), with its quartiles."""
    figure = Figure(figsize=(7, 3.2), layout="constrained")
    axes = figure.subplots()
    figure.suptitle(title, fontsize=10)
    for (name, values), colour in zip(series.items(), _COLOURS):
        low, high = np.percentile(values, (25, 75))
        axes.hist(values, _BINS, color=colour, alpha=0.6, label=f"{name}: quartiles {low:.1%} and {high:.1%}")
        for quartile in (low, high):
            axes.axvline(quartile, color=colour, linewidth=1, linestyle=":")
    axes.set_xlabel("accuracy on a user's own examples")
    axes.set_ylabel("users")
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=len(series), frameon=False, fontsize=8)  # below the axes
    figure.savefig(path, format="png", dpi=110)


@literal
def save_side_by_side(images: Mapping[str, np.ndarray], path: pathlib.Path) -> None:
    """Writes a PNG with a grid of 36 of each of `images`, uint8 [n, height, width, channels]: those of the arms "low" and "high",
    and above them real images without the bug ("clean") and with it ("bug"), if given.

    The background is transparent and the names are grey, readable on light and on dark pages.
    """
    rows = [row for row in _ROWS if images.keys() & set(row)]
    figure = Figure(figsize=(3.1 * 2, 3.4 * len(rows)), layout="constrained")
    for panels, row in zip(figure.subplots(len(rows), 2, squeeze=False), rows):
        for axes, name in zip(panels, row):
            axes.set_axis_off()
            if name in images:
                axes.imshow(_grid(images[name]), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
                axes.set_title(_TITLES[name], fontsize=10, color=_GREY)
    with replacing(path) as partial:
        figure.savefig(partial, format="png", dpi=110, transparent=True)


def _grid(images: np.ndarray) -> np.ndarray:
    """Returns one image, uint8 [height, width] or [height, width, 3], with grey lines between the images."""
    chosen = images[: _SIDE**2]
    rows = [chosen[i : i + _SIDE] for i in range(0, len(chosen), _SIDE) if len(chosen[i : i + _SIDE]) == _SIDE]
    padded = [np.pad(row, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=96) for row in rows]
    sheet = np.concatenate([np.concatenate(list(row), axis=1) for row in padded], axis=0)
    return sheet[..., 0] if sheet.shape[-1] == 1 else sheet
