"""The heat map of a differential test over rounds."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fedlab.report import words
from fedlab.report.heat import LEVELS, MAX_CLIENTS, HeatMap, evenly_spaced, opacity, short


def difference_map(
    names: Sequence[str], rounds: Sequence[int], cells: Sequence[Sequence[tuple[float, bool]]], a: str, b: str
) -> HeatMap:
    """Draws clients × rounds: `cells[i][j]` is the share of client i's predictions that differ in round `rounds[j]`, and whether
    the verdict is `different`. Darkness follows the square root of the share. Draws at most 100 rounds, evenly spaced.
    """
    shown = evenly_spaced(len(rounds), MAX_CLIENTS)
    values = [[row[j] for j in shown] for row in cells]
    highest = max((share for row in values for share, _ in row), default=0.0)
    most = max(highest, 0.01)  # small shares stay light
    paths: dict[int, list[str]] = {}
    marks = []
    for i, row in enumerate(values):
        for j, (share, different) in enumerate(row):
            if share:
                paths.setdefault(max(1, math.ceil(LEVELS * math.sqrt(share / most))), []).append(f"M{j} {i}h1v1h-1Z")
            if different:
                marks.append(f"M{j + 0.5} {i + 0.5}h0")
    every, steps = -(-len(names) // 40), (1 / 16, 1 / 4, 9 / 16, 1)
    row_ticks = tuple((100 * (1 - (i + 0.5) / len(names)), short(names[i])) for i in range(0, len(names), every))
    columns = range(0, len(shown), -(-len(shown) // 10))
    return HeatMap(
        title=f"Predictions of {b} that differ from those of {a}, on each client",
        alt=f"Heat map of {words.counted(len(names), 'client')} by {words.counted(len(shown), 'round')}: up to "
        f"{words.percent(highest)} of a client's predictions differ; the verdict is different in "
        f"{words.counted(len(marks), 'cell')}.",
        num_columns=len(shown),
        num_rows=len(names),
        levels=tuple((opacity(level), "".join(path)) for level, path in sorted(paths.items())),
        legend=tuple((opacity(math.ceil(LEVELS * math.sqrt(s))), words.percent(most * s)) for s in steps) if paths else (),
        row_ticks=row_ticks,
        column_ticks=tuple((100 * (j + 0.5) / len(shown), f"{rounds[shown[j]]:,}") for j in columns),
        x_label="round",
        gutter=round(0.64 * max(len(text) for _, text in row_ticks) + 0.7, 1),
        legend_title="predictions that differ:" if paths else "no prediction differs",
        marks="".join(marks),
        marks_label="verdict: different",
    )
