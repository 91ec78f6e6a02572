"""The picture of a partition: the examples per client and class."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

MAX_CLIENTS = 100  # the most columns that a reader can distinguish


def plot_partition(counts: np.ndarray, path: str | os.PathLike, title: str = "", client_ids: Sequence[str] = ()) -> None:
    """Writes a PNG: a bar per client for its size, above a heat map of classes × clients.

    `counts`: int [clients, classes]. Of more than 100 clients, it draws 100 evenly spaced ones, and the axis says so: averages
    of neighbours would look too similar. `client_ids`: names of clients, shown in place of their positions.
    """
    num_clients, num_classes = counts.shape
    shown = np.unique(np.linspace(0, num_clients - 1, min(num_clients, MAX_CLIENTS)).round().astype(int))
    counts = counts[shown]

    height = 1.9 + min(max(0.28 * num_classes, 1.6), 9)
    figure = Figure(figsize=(10, height), layout="constrained")
    sizes, heat = figure.subplots(2, 1, sharex=True, height_ratios=[1.2, height - 1.9])
    figure.suptitle(title, fontsize=11)

    sizes.bar(range(len(shown)), counts.sum(axis=1), width=0.8 if len(shown) <= 40 else 1.0, color="#4c72b0")
    sizes.set_ylabel("examples")
    sizes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    sizes.spines[["top", "right"]].set_visible(False)
    sizes.tick_params(axis="x", length=0)

    image = heat.imshow(counts.T, aspect="auto", interpolation="nearest", cmap="viridis", vmin=0)
    heat.set_ylabel("class")
    heat.set_xlabel("client" if len(shown) == num_clients else f"client ({len(shown)} of {num_clients}, evenly spaced)")
    columns = range(0, len(shown), -(-len(shown) // 20))
    names = [client_ids[shown[c]] if client_ids else str(shown[c]) for c in columns]
    heat.set_xticks(columns, names, rotation=90 if max(map(len, names)) > 5 else 0)
    rows = range(0, num_classes, -(-num_classes // 32))
    heat.set_yticks(rows, [str(r) for r in rows])
    figure.colorbar(image, ax=heat, label="examples", ticks=MaxNLocator(5, integer=True), pad=0.01)
    figure.align_ylabels([sizes, heat])
    figure.savefig(path, format="png", dpi=120)
