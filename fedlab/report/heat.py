"""Heat maps: the examples per client and class of a partition; the differences of two arms per client and round."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from fedlab.archive.clients import ClientLabels
from fedlab.report import words
from fedlab.report.plot import across
from fedlab.report.scale import linear

MAX_CLIENTS = 100  # the most columns that a reader can distinguish
LEVELS = 24


@dataclasses.dataclass(frozen=True)
class HeatMap:
    """Rows × columns as one path per level of darkness; for a partition, below one bar per client with its size."""

    title: str
    alt: str
    num_columns: int
    num_rows: int
    levels: tuple[tuple[float, str], ...]  # (opacity, path)
    legend: tuple[tuple[float, str], ...]  # (opacity, number of examples)
    row_ticks: tuple[tuple[float, str], ...]  # (percent from below, class)
    column_ticks: tuple[tuple[float, str], ...]  # (percent from the left, client or round)
    x_label: str
    gutter: float
    legend_title: str
    sizes: Sizes | None = None
    marks: str = ""  # path of a dot in each marked cell
    marks_label: str = ""

    def below(self) -> list[tuple[float, str, str]]:
        """Returns (position in percent, text, class) of the column ticks whose texts do not touch."""
        return across(self.column_ticks)


@dataclasses.dataclass(frozen=True)
class Sizes:
    """The bars of client sizes, and their axis."""

    alt: str
    bars: str
    ticks: tuple[tuple[float, str], ...]


def heat_map(clients: Sequence[ClientLabels], labels: Sequence[str] = ()) -> HeatMap:
    """Draws a partition. `labels`: the names of the classes; (): their numbers.

    Of more than 100 clients, it draws 100 evenly spaced ones, and the axis says so: the averages of neighbours would look too
    similar. Darkness follows the square root of the count, so small counts stay visible.
    """
    shown = evenly_spaced(len(clients), MAX_CLIENTS)
    counts = [clients[i].counts for i in shown]
    classes, most = len(counts[0]), max(max(row) for row in counts) or 1
    cells: dict[int, list[str]] = {}
    for column, row in enumerate(counts):
        for label, count in enumerate(row):
            if count:
                level = max(1, math.ceil(LEVELS * math.sqrt(count / most)))
                cells.setdefault(level, []).append(f"M{column} {label}h1v1h-1Z")
    totals = [sum(row) for row in counts]
    scale = linear(0, max(totals) or 1, count=2)
    inset = 0.1 if len(shown) <= 40 else 0
    bars = "".join(
        f"M{column + inset:g} 1000V{1000 * (1 - scale.at(total)):.0f}h{1 - 2 * inset:g}V1000Z"
        for column, total in enumerate(totals)
        if total
    )
    rows = range(0, classes, -(-classes // 20))
    names = [clients[i].client for i in shown]
    columns = range(0, len(shown), -(-len(shown) // (10 if max(map(len, names)) <= 4 else 4)))
    steps = sorted({max(1, round(most * share)) for share in (1 / 16, 1 / 4, 9 / 16, 1)})
    row_ticks = tuple((100 * (1 - (r + 0.5) / classes), short(labels[r]) if labels else str(r)) for r in rows)
    size_ticks = tuple((round(100 * scale.at(t), 2), words.number(t)) for t in scale.ticks)
    part = "" if len(shown) == len(clients) else f" ({len(shown)} of {len(clients):,}, evenly spaced)"
    return HeatMap(
        title="Examples of each class on each client",
        alt=f"Heat map of {classes} classes by {words.counted(len(shown), 'client')}{part}: a client holds up to {most:,} "
        "examples of one class.",
        num_columns=len(shown),
        num_rows=classes,
        sizes=Sizes(f"Examples per client: from {min(totals):,} to {max(totals):,}.", bars, size_ticks),
        legend_title="examples of a class:",
        levels=tuple((opacity(level), "".join(path)) for level, path in sorted(cells.items())),
        legend=tuple((opacity(math.ceil(LEVELS * math.sqrt(step / most))), f"{step:,}") for step in steps),
        row_ticks=row_ticks,
        column_ticks=tuple((100 * (c + 0.5) / len(shown), short(names[c])) for c in columns),
        x_label=f"client{part}",
        gutter=round(0.64 * max(len(text) for _, text in (*row_ticks, *size_ticks)) + 0.7, 1),
    )


def evenly_spaced(count: int, most: int) -> list[int]:
    """Returns at most `most` of the positions 0 … count − 1, including the first and the last."""
    if count <= most:
        return list(range(count))
    return sorted({round(i * (count - 1) / (most - 1)) for i in range(most)})


def opacity(level: int) -> float:
    return round(level / LEVELS, 3)


def short(name: str) -> str:
    return name if len(name) <= 12 else f"{name[:11]}…"
