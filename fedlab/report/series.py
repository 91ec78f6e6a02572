"""Metrics over rounds, read from records and thinned to the resolution of a screen."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Point = tuple[float, float | None]  # round, value; None if the value is not a finite number
MAX_POINTS = 600

# Shown elsewhere in a report, or not a quantity
_NOT_CURVES = {
    "round",
    "seconds",
    "num_clients",
    "num_dropped",
    "bytes_up",
    "bytes_down",
    "weights_hash",
    "train_num_examples",
    "non_finite_clients",
    "server_update_non_finite",
}


def series(records: Iterable[Mapping[str, Any]], name: str) -> list[Point]:
    """Returns the values of a metric from the records that have it."""
    return [(r["round"], finite(r[name])) for r in records if name in r and not isinstance(r[name], (str, list, dict))]


def finite(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None


def names(records: Iterable[Mapping[str, Any]]) -> list[str]:
    """Returns the metrics that make a curve, in order of appearance: numbers that are not shown elsewhere."""
    found: dict[str, None] = {}
    for record in records:
        found.update((name, None) for name, value in record.items() if finite(value) is not None)
    return [name for name in found if name not in _NOT_CURVES]


def distinct(spent: Mapping[str, Any]) -> list[str]:
    """Returns the names without those whose value equals `epsilon`, which is the smallest bound of several accountants."""
    return [name for name, value in spent.items() if name == "epsilon" or value != spent.get("epsilon")]


def last(records: Sequence[Mapping[str, Any]], name: str) -> tuple[int, float] | None:
    """Returns (round, value) of the newest record that has a value."""
    return next(((r["round"], v) for r in reversed(records) if (v := finite(r.get(name))) is not None), None)


def pieces(points: Sequence[Point]) -> list[list[tuple[float, float]]]:
    """Splits a curve at values that are not numbers."""
    found: list[list[tuple[float, float]]] = [[]]
    for x, y in points:
        if y is not None:
            found[-1].append((x, y))
        elif found[-1]:
            found.append([])
    return [piece for piece in found if piece]


def thinned(points: Sequence[tuple[float, float]], most: int = MAX_POINTS) -> list[tuple[float, float]]:
    """Returns about `most` points at most. Each section keeps its minimum and maximum, so no spike is lost; both ends stay."""
    if len(points) <= most:
        return list(points)
    stretch = len(points) / max(1, most // 2)
    kept = {0, len(points) - 1}
    for i in range(max(1, most // 2)):
        inside = range(int(i * stretch), int((i + 1) * stretch))
        kept |= {min(inside, key=lambda j: points[j][1]), max(inside, key=lambda j: points[j][1])}
    return [points[j] for j in sorted(kept)]
