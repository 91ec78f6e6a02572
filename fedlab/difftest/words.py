"""A comparison in words: one line of verdict for people."""

from __future__ import annotations

from typing import Sequence

from fedlab.difftest.comparison import DIFFERENT, EQUAL, UNDECIDED, Comparison

_MOST_NAMED = 12


def verdict_line(comparison: Comparison, a: str, b: str) -> str:
    """`different: b differs from a on 2 of 10 clients (3, 7) …`, without a full stop."""
    different, undecided = comparison.named(DIFFERENT), comparison.named(UNDECIDED)
    whole, total = comparison.all, len(comparison.clients)
    if comparison.verdict == DIFFERENT:
        where = f"on {len(different)} of {total:,} clients ({listed(different)})" if different else "on all examples together"
        worse = f"; less accurate on {listed(comparison.worse)}" if comparison.worse else ""
        told = f"{b} differs from {a} {where}{worse}"
    elif comparison.verdict == EQUAL:
        same = "every score agrees within the tolerance" if not whole.delta_score else "no more than the tolerance allows"
        told = f"{a} and {b}, {same}"
    else:
        where = f"on {len(undecided)} of {total:,} clients ({listed(undecided)})" if undecided else "on all examples together"
        told = f"too few examples to tell {b} from {a} {where}"
    return (
        f"{comparison.verdict}: {told}; {whole.delta_class:,} of {whole.examples:,} predictions differ, accuracy by "
        f"{100 * whole.accuracy_difference:+.2f} points ({100 * whole.interval_low:+.2f} to {100 * whole.interval_high:+.2f})"
    )


def listed(clients: Sequence[str]) -> str:
    """ "3, 7, 9", cut short where there are many."""
    more = f" and {len(clients) - _MOST_NAMED} more" if len(clients) > _MOST_NAMED else ""
    return ", ".join(clients[:_MOST_NAMED]) + more
