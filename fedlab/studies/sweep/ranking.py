"""The ranking of a sweep's jobs: by all metrics together, or by the first one."""

from __future__ import annotations

from collections.abc import Sequence

Values = Sequence[float] | None  # a value per metric; None or empty for a job without an objective


def is_better(a: Sequence[float], b: Sequence[float], maximize: Sequence[bool]) -> bool:
    """Returns whether `a` is as good as `b` in each metric, and better in one. `maximize`: whether more is better, per metric."""
    signs = [1 if more else -1 for more in maximize]
    pairs = [(sign * x, sign * y) for sign, x, y in zip(signs, a, b)]
    return all(x >= y for x, y in pairs) and any(x > y for x, y in pairs)


def best(values: Sequence[Values], maximize: Sequence[bool]) -> list[int]:
    """Returns the positions of the values on the Pareto front; with one metric, only the first of the best."""
    scored = {i: one for i, one in enumerate(values) if one}
    found = [i for i, mine in scored.items() if not any(is_better(other, mine, maximize) for other in scored.values())]
    return found if len(maximize) > 1 else found[:1]


def order(values: Sequence[Values], maximize: Sequence[bool]) -> list[int]:
    """Returns positions sorted by the first metric, best first; jobs without an objective come last. The sort is stable."""
    sign = -1 if maximize[0] else 1
    return sorted(range(len(values)), key=lambda i: (0, sign * one[0]) if (one := values[i]) else (1, 0.0))
