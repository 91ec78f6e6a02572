"""Tables for the terminal; where output is piped, plain lines as wide as they need to be."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

Row = Sequence[str]
_CLIPPED = 24
_UNBROKEN = "\N{NO-BREAK SPACE}"


def print_table(columns: Row, rows: Sequence[Row], numeric: Row = (), title: str | None = None, clip: Row = ()) -> None:
    """`numeric`: the columns whose cells are set to the right. `clip`: those that a narrow terminal may cut short."""
    if not sys.stdout.isatty():
        _print_plain(columns, rows, numeric, title)
        return
    table = Table(title=title, title_justify="left")
    for name in columns:
        if name in clip:
            table.add_column(name, no_wrap=True, overflow="ellipsis", max_width=_CLIPPED)
        else:
            table.add_column(name, justify="right" if name in numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(cell.replace(" ", _UNBROKEN) if name in numeric else cell for name, cell in zip(columns, row)))
    Console(markup=False, highlight=False).print(table)


def _print_plain(columns: Row, rows: Sequence[Row], numeric: Row, title: str | None) -> None:
    if title:
        print(f"# {title}")
    lines = [columns, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    for line in lines:
        cells = (c.rjust(w) if name in numeric else c.ljust(w) for c, w, name in zip(line, widths, columns))
        print("  ".join(cells).rstrip())
