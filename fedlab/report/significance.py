"""Significance of differences between groups of runs: two-sided paired t-tests over equal seeds, corrected for their number.

Student 1908; Holm 1979, "A simple sequentially rejective multiple test procedure".
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

ALPHA = 0.05  # differences with a smaller corrected p are significant
FEWEST = 3  # the fewest pairs for a test: two leave one degree of freedom, for which only enormous differences are significant
TOO_FEW, CONSTANT = "too few seeds", "constant difference"
_SAME = 1e-9  # relative: differences that are equal but for rounding


def paired(a: Mapping[int, float], b: Mapping[int, float]) -> tuple[float | None, str]:
    """Returns (p, "") of the two-sided paired t-test of the values of two groups by seed; (None, reason) if it is not possible.

    It assumes that the differences are normally distributed. Only seeds that both groups have count. Differences that are the
    same for each seed have no standard deviation to compare with; with few test examples this happens by chance. If all are 0, p
    is 1.
    """
    differences = [a[seed] - b[seed] for seed in sorted(set(a) & set(b))]
    if len(differences) < FEWEST:
        return None, TOO_FEW
    if not any(differences):
        return 1.0, ""
    largest = max(abs(value) for values in (a, b) for value in values.values())
    if max(differences) - min(differences) <= _SAME * largest:
        return None, CONSTANT
    from scipy.special import stdtr

    t = statistics.fmean(differences) / (statistics.stdev(differences) / math.sqrt(len(differences)))
    return 2 * float(stdtr(len(differences) - 1, -abs(t))), ""


def holm(p_values: Sequence[float]) -> list[float]:
    """Returns the p values corrected by Holm's method, in the same order: all that are below ALPHA are significant together."""
    corrected, highest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = highest
    return corrected
