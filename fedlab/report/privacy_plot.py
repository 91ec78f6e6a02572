"""The picture of the privacy loss: ε over the rounds."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fedlab.report.texts import literal

RDP, PLD = "#9aa5b1", "#1f6feb"


@literal
def plot_privacy(
    rounds: Sequence[int],
    by_rdp: Sequence[float],
    by_pld: Sequence[float] | None,
    path: str | os.PathLike,
    title: str = "",
) -> None:
    """Writes a PNG: the bounds on ε after each of `rounds`. `by_pld`: None without such a bound. A text replaces the curve of
    an infinite ε."""
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    for label, color, values in (("RDP", RDP, by_rdp), ("PLD", PLD, by_pld)):
        if values is not None and all(map(math.isfinite, values)):
            axes.plot(rounds, values, color=color, marker="o", markersize=3, linewidth=1.5, label=label)
    axes.set_title(title, loc="left", fontsize=10)
    axes.set_xlabel("round")
    axes.set_ylabel("ε, upper bound")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        figure.legend(loc="outside lower center", ncols=2, frameon=False)  # below the axes, so that no curve crosses it
    else:
        axes.text(0.5, 0.5, "ε = ∞: no guarantee", transform=axes.transAxes, ha="center", va="center")
    figure.savefig(path, format="png", dpi=150)
