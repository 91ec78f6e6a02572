"""Learning curves of one run."""

from __future__ import annotations

import pathlib
from typing import Any, Sequence

from matplotlib import ticker
from matplotlib.figure import Figure

TRAIN, TEST = "#9aa5b1", "#1f6feb"


def plot_curves(records: Sequence[dict[str, Any]], path: pathlib.Path) -> None:
    """Accuracy and loss over rounds, training and test, as a PNG."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, metric in ((left, "accuracy"), (right, "loss")):
        for name, label, color in _curves(records, metric):
            points = [(r["round"], r[name]) for r in records if r.get(name) is not None]
            if points:
                marker = "o" if len(points) <= 30 else None
                axes.plot(*zip(*points), color=color, marker=marker, markersize=3, linewidth=1.5, label=label)
        axes.set_xlabel("round")
        axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    left.set_title("accuracy", loc="left")
    left.yaxis.set_major_formatter(ticker.PercentFormatter(1.0))
    right.set_title("loss (cross-entropy, nats)", loc="left")
    right.set_ylim(bottom=0)
    if left.get_legend_handles_labels()[0]:
        left.legend(loc="lower right", frameon=False)
    figure.savefig(path, dpi=150, format="png")


def _curves(records: Sequence[dict[str, Any]], metric: str) -> list[tuple[str, str, str]]:
    """(metric, label, colour): training and test of a run, the test of each of several arms."""
    arms = [name.rpartition("/")[0] for name in dict.fromkeys(n for r in records for n in r if n.endswith(f"/test_{metric}"))]
    if arms:
        return [(f"{arm}/test_{metric}", f"{arm}, test set", f"C{i}") for i, arm in enumerate(arms)]
    return [(f"train_{metric}", "clients, while training", TRAIN), (f"test_{metric}", "test set", TEST)]
