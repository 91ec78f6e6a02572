"""Heat maps: of a partition, who holds how much of which class; of two arms, where and when they differ."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from fedlab.archive.clients import ClientLabels
from fedlab.report import words
from fedlab.report.scale import linear

MAX_CLIENTS = 100  # more columns than that and none can be told from the next
_LEVELS = 24


@dataclasses.dataclass(frozen=True)
class HeatMap:
    """Rows × columns as one path per level of darkness; of a partition, below a bar per client for its size."""

    title: str
    alt: str
    num_columns: int
    num_rows: int
    levels: tuple[tuple[float, str], ...]  # (opacity, path)
    legend: tuple[tuple[float, str], ...]  # (opacity, number of examples)
    row_ticks: tuple[tuple[float, str], ...]  # (percent from below, class)
    column_ticks: tuple[tuple[float, str], ...]
    x_label: str
    gutter: float
    legend_title: str
    sizes: Sizes | None = None
    marks: str = ""  # path of a dot in each cell that is set apart
    marks_label: str = ""


@dataclasses.dataclass(frozen=True)
class Sizes:
    """The bars, and their axis."""

    alt: str
    bars: str
    ticks: tuple[tuple[float, str], ...]


def heat_map(clients: Sequence[ClientLabels]) -> HeatMap:
    """Of more than 100 clients, 100 evenly spaced ones are drawn, and the axis says so: averaging neighbours would show clients
    more alike than they are. Darkness follows the square root of the count, so that few examples are seen beside many.
    """
    shown = evenly_spaced(len(clients), MAX_CLIENTS)
    counts = [clients[i].counts for i in shown]
    classes, most = len(counts[0]), max(max(row) for row in counts) or 1
    cells: dict[int, list[str]] = {}
    for column, row in enumerate(counts):
        for label, count in enumerate(row):
            if count:
                level = max(1, math.ceil(_LEVELS * math.sqrt(count / most)))
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
    row_ticks = tuple((100 * (1 - (r + 0.5) / classes), str(r)) for r in rows)
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
        levels=tuple((_opacity(level), "".join(path)) for level, path in sorted(cells.items())),
        legend=tuple((_opacity(math.ceil(_LEVELS * math.sqrt(step / most))), f"{step:,}") for step in steps),
        row_ticks=row_ticks,
        column_ticks=tuple((100 * (c + 0.5) / len(shown), _short(names[c])) for c in columns),
        x_label=f"client{part}",
        gutter=round(0.64 * max(len(text) for _, text in (*row_ticks, *size_ticks)) + 0.7, 1),
    )


def difference_map(
    names: Sequence[str], rounds: Sequence[int], cells: Sequence[Sequence[tuple[float, bool]]], a: str, b: str
) -> HeatMap:
    """Clients × rounds: `cells[i][j]` is the share of client i's predictions that differ in round `rounds[j]`, and whether the
    verdict is `different`. Darkness follows the square root of the share. Of many rounds, 100 evenly spaced ones are drawn.
    """
    shown = evenly_spaced(len(rounds), MAX_CLIENTS)
    values = [[row[j] for j in shown] for row in cells]
    highest = max((share for row in values for share, _ in row), default=0.0)
    most = max(highest, 0.01)  # what is less looks like less
    paths: dict[int, list[str]] = {}
    marks = []
    for i, row in enumerate(values):
        for j, (share, different) in enumerate(row):
            if share:
                paths.setdefault(max(1, math.ceil(_LEVELS * math.sqrt(share / most))), []).append(f"M{j} {i}h1v1h-1Z")
            if different:
                marks.append(f"M{j + 0.5} {i + 0.5}h0")
    every, steps = -(-len(names) // 40), (1 / 16, 1 / 4, 9 / 16, 1)
    row_ticks = tuple((100 * (1 - (i + 0.5) / len(names)), _short(names[i])) for i in range(0, len(names), every))
    columns = range(0, len(shown), -(-len(shown) // 10))
    return HeatMap(
        title=f"Predictions of {b} that differ from those of {a}, on each client",
        alt=f"Heat map of {words.counted(len(names), 'client')} by {words.counted(len(shown), 'round')}: up to "
        f"{words.percent(highest)} of a client's predictions differ; the verdict is different in "
        f"{words.counted(len(marks), 'cell')}.",
        num_columns=len(shown),
        num_rows=len(names),
        levels=tuple((_opacity(level), "".join(path)) for level, path in sorted(paths.items())),
        legend=tuple((_opacity(math.ceil(_LEVELS * math.sqrt(s))), words.percent(most * s)) for s in steps) if paths else (),
        row_ticks=row_ticks,
        column_ticks=tuple((100 * (j + 0.5) / len(shown), f"{rounds[shown[j]]:,}") for j in columns),
        x_label="round",
        gutter=round(0.64 * max(len(text) for _, text in row_ticks) + 0.7, 1),
        legend_title="predictions that differ:" if paths else "no prediction differs",
        marks="".join(marks),
        marks_label="verdict: different",
    )


def evenly_spaced(count: int, most: int) -> list[int]:
    """At most `most` of the positions 0 … count − 1, the first and the last among them."""
    if count <= most:
        return list(range(count))
    return sorted({round(i * (count - 1) / (most - 1)) for i in range(most)})


def _opacity(level: int) -> float:
    return round(level / _LEVELS, 3)


def _short(name: str) -> str:
    return name if len(name) <= 12 else f"{name[:11]}…"
