"""The table of `fedlab runs`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from fedlab.composition import EACH_ALONE, REPLAYABLE
from fedlab.console.tables import print_table
from fedlab.report import listing
from fedlab.report.listing import Listed


def print_runs(rows: Sequence[Listed]) -> None:
    """Prints the table, without columns that are empty for every run."""
    table: list[tuple[str, list[str], bool]] = []
    for name, column in listing.COLUMNS.items():
        cells = [column.text(row) for row in rows]
        if any(cells):
            table.append((name, cells, column.numeric))
    table += [(name, [row.reached_text(name) for row in rows], True) for name in rows[0].rounds_to]
    if any(differing := listing.differences(rows)):
        table.append(("differs", differing, False))
    names = [name for name, _, _ in table]
    numeric = [name for name, _, is_numeric in table if is_numeric]
    print_table(names, list(zip(*(cells for _, cells, _ in table))), numeric, clip=("name", "status", "started"))
    if "epsilon" in names:
        weak = f"; {REPLAYABLE}" if any(row.noise for row in rows) else ""
        print(f"fedlab runs: {EACH_ALONE}{weak}.", file=sys.stderr)  # stderr: other programs read the table
