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
from fedlab.measures import Metric
from fedlab.report.inches import LINE, PAD, TICK, axes_at, place_labels, widest
from fedlab.report.texts import literal

# Inches: the picture; a panel, the space left of it for the values, above it for the title, below it for the rounds
WIDTH, HEIGHT, PANEL, LEFT, ABOVE, BELOW = 9.0, 2.25, 3.75, 0.65, 0.3, 0.55
KEY = 0.75  # inches: the line before a name of a legend, and the gap to the next column
TRAIN, TEST = "#9aa5b1", "#1f6feb"
Records = Sequence[dict[str, Any]]
Limits = tuple[float | None, float | None]


@dataclasses.dataclass(frozen=True)
class _Line:
    metric: str
    label: str
    color: str
    style: str = "-"


@literal
def plot_curves(records: Records, path: pathlib.Path, task: Learned = CLASSIFICATION) -> None:
    """Writes a PNG of curves over rounds: the headline metric of the task and the loss, training and test; for GANs, polarity
    and the discriminator's scores. A global model and the clients' own models next to it have panels of their own."""
    panels: list[tuple[str, list[_Line], dict[str, Any]]]
    if _arms(records, "generated_score"):
        scored = dict(share=True, limits=(-0.03, 1.03))
        panels = [
            ("generated images with a light background", _of_generator(records), scored),
            ("discriminator's mean score", _of_discriminator(records), {}),
        ]
    else:
        shown, loss = task.ranking, task.metrics.get("loss", Metric("loss"))
        each = ((shown, task.headline or "loss", dict(share=shown.percent)), (loss, "loss", dict(limits=(0.0, None))))
        panels = [(_titled(metric), _tested(records, name), options) for metric, name, options in each]
        if any("global_test_loss" in record for record in records):  # training is that of the global model
            own = [(f"{_titled(m)}, own models", [_Line(f"test_{n}", "test set", TEST)], o) for m, n, o in each]
            panels = [(f"{_titled(m)}, global model", _of_global_model(n), o) for m, n, o in each] + own
    legend = max(_legend_height(lines) for _, lines, _ in panels)
    row = ABOVE + HEIGHT + BELOW + legend
    figure = Figure(figsize=(WIDTH, len(panels) // 2 * row))
    for i, (title, lines, options) in enumerate(panels):
        bottom = (len(panels) // 2 - 1 - i // 2) * row + BELOW + legend
        axes = axes_at(figure, LEFT + i % 2 * WIDTH / 2, bottom, PANEL, HEIGHT)
        _draw(axes, title, records, lines, **options)
    figure.savefig(path, dpi=150, format="png")


def _columns(lines: Sequence[_Line]) -> int:
    """Returns the number of columns of a legend: of pairs, or of three, as far as the names fit below a panel."""
    wanted = 2 if len(lines) % 2 == 0 else 3
    fit = int((WIDTH / 2 - PAD) // (widest([line.label for line in lines]) + KEY))
    return max(1, min(wanted, fit))


def _legend_height(lines: Sequence[_Line]) -> float:
    """Returns the height of the legend of a panel, in inches; 0 if no curve has a name."""
    named = [line for line in lines if line.label]
    return -(-len(named) // _columns(lines)) * LINE + PAD if named else 0.0


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
    axes.set_title(title, loc="left", y=1)  # a place of its own saves measuring all texts above the axes
    axes.set_xlabel("round")
    axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if share:
        axes.yaxis.set_major_formatter(ticker.PercentFormatter(1.0))
    axes.set_ylim(*limits)
    axes.yaxis.get_offset_text().set_x((PAD - LEFT) / PANEL)  # a common factor such as 1e8: left of the title
    place_labels(axes, x=TICK + 0.8 * LINE)
    if any(line.label for line in lines) and axes.lines:
        # below the axes, so that no curve crosses it
        below = {"loc": "upper center", "bbox_to_anchor": (0.5, -(BELOW - PAD) / HEIGHT), "borderaxespad": 0, "borderpad": 0}
        axes.legend(ncols=_columns(lines), frameon=False, **below)


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


def _of_global_model(metric: str) -> list[_Line]:
    return [_Line(f"train_{metric}", "clients, while training", TRAIN), _Line(f"global_test_{metric}", "test set", TEST)]


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
