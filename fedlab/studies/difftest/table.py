"""The table of `fedlab difftest`."""

from __future__ import annotations

from fedlab.console.tables import print_table
from fedlab.report import words
from fedlab.studies.difftest.record import ClientDifference
from fedlab.studies.difftest.verdict import Differences, interval, points

_MOST_ROWS = 30


def print_clients(differences: Differences) -> None:
    """Prints all clients if they fit, else the ones that differ most; then all examples together."""
    heads = [
        "client",
        "examples",
        "classes differ",
        "scores differ",
        "largest",
        "accuracy",
        "difference",
        "interval",
        "p",
        "verdict",
    ]
    clients = sorted(differences.clients, key=lambda row: row.smallest_p)[:_MOST_ROWS]
    shown = [row for row in differences.clients if row in clients]
    left_out = len(differences.clients) - len(shown)
    title = "Examples whose class and whose scores differ; accuracy of a, difference to b in points; smallest p (Holm)"
    if left_out:
        title += f"; the {len(shown)} clients least alike of {len(differences.clients):,}"
    print_table(heads, [_cells(row) for row in [*shown, differences.all]], heads[1:-1], title)
    print()


def _cells(row: ClientDifference) -> list[str]:
    return [
        row.client,
        f"{row.examples:,}",
        f"{row.delta_class:,}",
        f"{row.delta_score:,}",
        words.number(row.largest_score_difference, 2),
        words.percent(row.accuracy_a),
        points(row.accuracy_difference),
        interval(row),
        words.number(row.smallest_p, 2) if row.smallest_p else "< 10⁻³⁰⁰",
        f"{row.verdict}: {row.found.replace(' ', ', ')}" if row.found else row.verdict,
    ]
