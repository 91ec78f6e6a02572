"""Distributions over many clients, which a page shows in place of rows."""

from __future__ import annotations

import numpy as np

from fedlab.archive import columns
from fedlab.report import words
from fedlab.report.plot import Axis, Plot, histogram
from fedlab.report.scale import linear

_BINS = 20
SHARES = (0, 1, 10, 25, 50, 75, 90, 99, 100)  # percent of the clients that have at most a value


def is_many(num_clients: int) -> bool:
    """Returns True if a page shows distributions over clients, and no single client."""
    return num_clients > columns.MOST_ROWS


def percentiles(values: np.ndarray) -> list[float]:
    """Returns the values that each of `SHARES` percent of the clients do not exceed; NaN if a value is NaN."""
    return [float(value) for value in np.percentile(values, SHARES)]


def whole_histogram(values: np.ndarray, title: str, label: str) -> Plot:
    """Returns the histogram of whole numbers [clients], from 0 up. Each bar spans equally many of them.

    The last bar is of the largest 1 % of the clients, if these have much larger values than the others.
    """
    low, high = int(values.min()), int(values.max())
    usual = int(np.percentile(values, 99))
    cut = usual if high - low > 3 * max(usual - low, 1) else high
    each = -(-(cut - low + 1) // _BINS)  # whole numbers per bar
    num_bars = -(-(cut - low + 1) // each)
    counts = np.bincount(np.minimum((values - low) // each, num_bars - 1), minlength=num_bars)
    edges = [low - 0.5 + each * i for i in range(num_bars + 1)]
    middle = words.number(float(np.median(values)))
    above = "" if cut == high else f"; the last bar has all from {words.number(low + each * (num_bars - 1))} up"
    alt = f"{title} of {words.counted(len(values), 'client')}: from {low:,} to {high:,}, median {middle}{above}."
    scale = linear(edges[0], edges[-1], nice=False, whole=True)
    return histogram(title, alt, Axis(scale, label + above), counts.tolist(), edges, "clients")
