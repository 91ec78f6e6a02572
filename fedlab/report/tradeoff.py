"""The picture of what protections cost and earn: accuracy over the score of an attack."""

from __future__ import annotations

import os
from collections.abc import Sequence

from matplotlib.figure import Figure


def plot_tradeoff(points: Sequence[tuple[str, str, float, float]], path: str | os.PathLike) -> None:
    """Writes a PNG. `points`: (run, what was attacked, score, test accuracy); a colour per run, a mark per kind of model."""
    figure = Figure(figsize=(7.5, 4.5), layout="constrained")
    ax = figure.subplots()
    runs = list(dict.fromkeys(run for run, *_ in points))
    kinds = list(dict.fromkeys(kind for _, kind, *_ in points))
    for i, run in enumerate(runs):
        mine = [point for point in points if point[0] == run]
        ax.plot([p[2] for p in mine], [p[3] for p in mine], color=f"C{i}", linewidth=0.8, alpha=0.4)
        for _, kind, score, accuracy in mine:
            ax.plot(score, accuracy, "os^vD"[kinds.index(kind) % 5], color=f"C{i}", markersize=8)
    for i, run in enumerate(runs):
        ax.plot([], [], "-", color=f"C{i}", linewidth=3, label=run)
    for i, kind in enumerate(kinds):
        ax.plot([], [], "os^vD"[i % 5], color="0.4", label=kind)
    ax.axvline(0, color="0.7", linewidth=0.8, linestyle=":")
    ax.set_xlabel("score of the attack (0: noise, 1: real images)")
    ax.set_ylabel("test accuracy of the global model")
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    ax.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right upper", fontsize=9, frameon=False)
    figure.savefig(path, format="png", dpi=120)
