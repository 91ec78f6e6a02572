"""The picture of a partition: the examples per client and class."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fedlab.report.inches import LINE, PAD, TICK, axes_at, place_labels, widest
from fedlab.report.texts import literal, shortened

MAX_CLIENTS = 100  # the most columns that a reader can distinguish
SIZES, GAP, BAR = 1.13, 0.17, 0.15  # inches: the height of the bars, the space below them, the width of the colour bar


@literal
def plot_partition(
    counts: np.ndarray,
    path: str | os.PathLike,
    title: str = "",
    client_ids: Sequence[str] = (),
    labels: Sequence[str] | None = None,
) -> None:
    """Writes a PNG: a bar per client for its size, above a heat map of classes × clients.

    `counts`: int [clients, classes]. Of more than 100 clients, it draws 100 evenly spaced ones, and the axis says so: averages
    of neighbours would look too similar. `client_ids`: names of clients, shown in place of their positions. `labels`: names of
    classes; None: their numbers.
    """
    num_clients, num_classes = counts.shape
    shown = np.unique(np.linspace(0, num_clients - 1, min(num_clients, MAX_CLIENTS)).round().astype(int))
    counts = counts[shown]

    columns = range(0, len(shown), -(-len(shown) // 20))
    names = [client_ids[shown[c]] if client_ids else str(shown[c]) for c in columns]
    upright = max(map(len, names)) > 5
    totals = counts.sum(axis=1)
    rows = range(0, num_classes, -(-num_classes // 32))
    row_names = [shortened(labels[r]) if labels else str(r) for r in rows]
    left = PAD + LINE + PAD + widest([f"{totals.max():,}", str(num_classes), *row_names]) + TICK
    values = TICK + widest([f"{counts.max():,}"]) + PAD
    right = GAP / 2 + BAR + values + LINE + PAD
    below_names = TICK + (widest(names) if upright else LINE) + PAD
    bottom, heat_height = below_names + LINE + PAD, min(max(0.28 * num_classes, 1.6), 9)
    width, height = 10 - left - right, bottom + heat_height + GAP + SIZES + LINE + 2 * PAD
    figure = Figure(figsize=(10, height))
    figure.text(0.5, 1 - PAD / height, title, fontsize=11, ha="center", va="top")

    heat = axes_at(figure, left, bottom, width, heat_height)
    sizes = axes_at(figure, left, bottom + heat_height + GAP, width, SIZES, sharex=heat)
    sizes.bar(range(len(shown)), totals, width=0.8 if len(shown) <= 40 else 1.0, color="#4c72b0")
    sizes.set_ylabel("examples")
    sizes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    sizes.yaxis.set_major_formatter("{x:,.0f}")
    sizes.spines[["top", "right"]].set_visible(False)
    sizes.tick_params(axis="x", length=0, labelbottom=False)

    image = heat.imshow(counts.T, aspect="auto", interpolation="nearest", cmap="viridis", vmin=0)
    heat.set_ylabel("class")
    heat.set_xlabel("client" if len(shown) == num_clients else f"client ({len(shown)} of {num_clients}, evenly spaced)")
    heat.set_xticks(columns, names, rotation=90 if upright else 0)
    heat.set_yticks(rows, row_names)
    bar = axes_at(figure, left + width + GAP / 2, bottom, BAR, heat_height)
    figure.colorbar(image, cax=bar, label="examples", ticks=MaxNLocator(5, integer=True), format="{x:,.0f}")
    for axes in (sizes, heat):
        place_labels(axes, x=below_names, y=left - PAD - LINE)
    place_labels(bar, y=-values)
    figure.savefig(path, format="png", dpi=120)
