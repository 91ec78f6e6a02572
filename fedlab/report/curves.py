"""Learning curves of one run."""

from __future__ import annotations

import dataclasses
import math
import pathlib
from collections.abc import Sequence
from typing import Any

from matplotlib import ticker
from matplotlib.figure import Figure

from fedlab.archive.task import CLASSIFICATION, Learned
from fedlab.types import Metric

TRAIN, TEST = "#9aa5b1", "#1f6feb"
Records = Sequence[dict[str, Any]]
Limits = tuple[float | None, float | None]


@dataclasses.dataclass(frozen=True)
class _Line:
    metric: str
    label: str
    color: str
    style: str = "-"


def plot_curves(records: Records, path: pathlib.Path, task: Learned = CLASSIFICATION) -> None:
    """Writes a PNG of curves over rounds: the headline metric of the task and the loss, training and test; for GANs, polarity
    and the discriminator's scores."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    if _arms(records, "generated_score"):
        _draw(left, "generated images with a light background", records, _of_generator(records), share=True, limits=(-0.03, 1.03))
        _draw(right, "discriminator's mean score", records, _of_discriminator(records))
    else:
        shown, loss = task.ranking, task.metrics.get("loss", Metric("loss"))
        _draw(left, _titled(shown), records, _tested(records, task.headline or "loss"), share=shown.percent)
        _draw(right, _titled(loss), records, _tested(records, "loss"), limits=(0.0, None))
    figure.savefig(path, dpi=150, format="png")


def _draw(
    axes: Any, title: str, records: Records, lines: Sequence[_Line], share: bool = False, limits: Limits = (None, None)
) -> None:
    """Draws curves. `share`: as percentages; `limits`: ends of the y axis, None to follow the values."""
    for line in lines:
        # null stands for a NaN or an infinity, at which a curve is interrupted
        points = [(r["round"], math.nan if r[line.metric] is None else r[line.metric]) for r in records if line.metric in r]
        if points:
            marker = "o" if len(points) <= 30 else None
            style = {"color": line.color, "linestyle": line.style, "marker": marker, "markersize": 3, "linewidth": 1.5}
            axes.plot(*zip(*points), label=line.label, **style)
    axes.set_title(title, loc="left")
    axes.set_xlabel("round")
    axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if share:
        axes.yaxis.set_major_formatter(ticker.PercentFormatter(1.0))
    axes.set_ylim(*limits)
    if any(line.label for line in lines) and axes.lines:
        columns = 2 if len(lines) % 2 == 0 else 3
        axes.legend(
            loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=columns, frameon=False
        )  # below the axes, so that no curve crosses it


def _arms(records: Records, metric: str) -> list[str]:
    """Returns the arms that have this metric, in their order; [""] if the run itself has it."""
    names = dict.fromkeys(n for r in records for n in r if n == metric or n.endswith(f"/{metric}"))
    return [name.rpartition("/")[0] for name in names]


def _titled(metric: Metric) -> str:
    return f"{metric.label} ({metric.unit})" if metric.unit else metric.label


def _tested(records: Records, metric: str) -> list[_Line]:
    """Returns the training and test curves of a run, or the test curve of each of several arms."""
    arms = [arm for arm in _arms(records, f"test_{metric}") if arm]
    if arms:
        return [_Line(f"{arm}/test_{metric}", f"{arm}, test set", f"C{i}") for i, arm in enumerate(arms)]
    return [_Line(f"train_{metric}", "clients, while training", TRAIN), _Line(f"test_{metric}", "test set", TEST)]


def _of_generator(records: Records) -> list[_Line]:
    return [_Line(_of(arm, "polarity"), arm, f"C{i}") for i, arm in enumerate(_arms(records, "polarity"))]


def _of_discriminator(records: Records) -> list[_Line]:
    lines = []
    for i, arm in enumerate(_arms(records, "generated_score")):
        whose = f"{arm}: " if arm else ""
        lines.append(_Line(_of(arm, "real_score"), f"{whose}real images", f"C{i}"))
        lines.append(_Line(_of(arm, "generated_score"), f"{whose}generated", f"C{i}", "--"))
    return lines


def _of(arm: str, metric: str) -> str:
    return f"{arm}/{metric}" if arm else metric
