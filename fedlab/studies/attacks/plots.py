"""The picture of an attack: an image for each model and class, or for each model if one class is attacked."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fedlab.report.texts import literal

_GREY = "#7b8593"
PER_ROW = 4  # models in a row of the picture of one class
MAX_CLASSES = 20  # the most columns that a reader can distinguish


@literal
def plot_models(images: np.ndarray, labels: Sequence[str], path: str | os.PathLike) -> None:
    """Writes a PNG with the images of one class, four per row: `images` [models, height, width, channels], above each its label.

    Colours and contrast are those of `plot_grid`.
    """
    rows = -(-len(images) // PER_ROW)
    figure = Figure(figsize=(1.3 * PER_ROW, 1.45 * rows), layout="constrained")
    axes = figure.subplots(rows, PER_ROW, squeeze=False).ravel()
    for ax, image, label in zip(axes, images, labels):
        _draw(ax, image)
        ax.set_title(label, fontsize=8, color=_GREY)
    for ax in axes[len(images) :]:
        ax.set_axis_off()
    figure.savefig(path, format="png", dpi=110, transparent=True)


def _draw(ax: Axes, image: np.ndarray) -> None:
    ax.imshow(image[..., 0] if image.shape[-1] == 1 else image, cmap="gray", interpolation="nearest")
    ax.set_xticks([])
    ax.set_yticks([])


@literal
def plot_grid(images: np.ndarray, labels: Sequence[str], classes: Sequence[int], path: str | os.PathLike) -> None:
    """Writes a PNG: `images` [rows, classes, height, width, channels] rows and columns with their names.

    The background is transparent and the names are grey, readable on light and on dark pages. Each image has
    its own contrast, because its shape matters.

    Draws at most 20 classes, evenly spaced.
    """
    rows, num_classes = images.shape[:2]
    columns = np.unique(np.linspace(0, num_classes - 1, min(num_classes, MAX_CLASSES)).round().astype(int))
    figure = Figure(figsize=(1.6 + 0.62 * len(columns), 0.3 + 0.64 * rows), layout="constrained")
    axes = figure.subplots(rows, len(columns), squeeze=False)
    for row, label in enumerate(labels):
        for column, c in enumerate(columns):
            ax, image = axes[row, column], images[row, c]
            _draw(ax, image)
            if row == 0:
                ax.set_title(str(classes[c]), fontsize=9, color=_GREY)
        axes[row, 0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=8, color=_GREY)
    figure.savefig(path, format="png", dpi=110, transparent=True)
