"""`rounds_to[TARGET]`: the number of rounds after which a metric of the test set reaches a target; bytes and seconds likewise."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Literal, get_args

from fedlab.errors import FedlabError

Cost = Literal["rounds", "bytes", "seconds", "simulated_seconds"]  # counted until a target is reached
COSTS: tuple[Cost, ...] = get_args(Cost)
_NAME = re.compile(r"rounds_to\[([^\[\]]*)\]")


class NotReached(FedlabError):
    """A run has ended without reaching the target."""


def named(target: float) -> str:
    """Returns the name of the figure for `target`, such as rounds_to[0.97]."""
    return f"rounds_to[{float(target)!r}]"


def target_in(name: str) -> float | None:
    """Returns the target in rounds_to[0.97] or ARM/rounds_to[0.97]; None for another name, or for no finite number."""
    found = _NAME.fullmatch(name.rpartition("/")[2])
    try:
        target = float(found[1]) if found else math.nan
    except ValueError:
        return None
    return target if math.isfinite(target) else None


def cost_named(cost: Cost, target: float) -> str:
    """Returns the name of a cost until `target`, such as bytes_to[0.97]."""
    return f"{cost}_to[{float(target)!r}]"


def cost_in(name: str) -> tuple[Cost, float] | None:
    """Returns the cost and the target in rounds_to[0.97], bytes_to[0.97] and the like; None for another name."""
    for cost in COSTS:
        target = target_in(f"rounds{name[len(cost) :]}") if name.startswith(f"{cost}_to[") else None
        if target is not None:
            return cost, target
    return None


def is_cost(name: str) -> bool:
    """Returns True if `name` begins like the name of such a cost, also of an arm, and if it contains no number."""
    return any(name.rpartition("/")[2].startswith(f"{cost}_to[") for cost in COSTS)


def total_after(rounds: float, per_round: Sequence[float]) -> float:
    """Returns the sum of `per_round`, the values of rounds 1, 2, …, until `rounds`, which may have a fraction."""
    whole = int(rounds)
    rest = rounds - whole
    return sum(per_round[:whole]) + (rest * per_round[whole] if rest else 0.0)


def is_named(name: str) -> bool:
    """Returns True if `name` begins like the name of such a figure, also if it contains no number."""
    return name.rpartition("/")[2].startswith("rounds_to[")


def rounds_to(points: Iterable[tuple[int, float | None]], target: float, more_is_better: bool = True) -> float | None:
    """Returns the number of rounds after which the best value so far first reaches `target`; None if it never does.

    `points`: (round, value) of the evaluated rounds, ascending; None, NaN and infinities are left out. `more_is_better`: False
    for a loss, whose best value is the smallest.

    As in McMahan et al. 2017, section 3, the curve is made monotone (the best value over all rounds so far), and the crossing is
    interpolated linearly between two evaluated rounds. If the first evaluated round has reached the target already, the result is
    that round, because no earlier value is known.
    """
    sign = 1 if more_is_better else -1
    best: tuple[int, float] | None = None  # the newest point of the monotone curve
    for round_num, value in points:
        if value is None or not math.isfinite(value):
            continue
        if sign * value >= sign * target:
            if best is None:
                return float(round_num)
            before, reached = best
            return before + (round_num - before) * (target - reached) / (value - reached)
        best = round_num, value if best is None or sign * value > sign * best[1] else best[1]
    return None
