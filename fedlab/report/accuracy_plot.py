"""The picture of how a classifier does on its users."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

_COLOURS = ("#4c72b0", "#dd8452")
_BINS = np.linspace(0, 1, 41).tolist()


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
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, format="png", dpi=110)
