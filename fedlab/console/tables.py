"""Tables for the terminal; plain lines of any width where the output is piped."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from fedlab.errors import printable

Row = Sequence[str]
_CLIPPED = 24
_UNBROKEN = "\N{NO-BREAK SPACE}"


def print_table(columns: Row, rows: Sequence[Row], numeric: Row = (), title: str | None = None, clip: Row = ()) -> None:
    """Prints a table. `numeric`: right-aligned columns. `clip`: columns that a narrow terminal may cut short."""
    columns, *rows = ([printable(cell) for cell in row] for row in (columns, *rows))
    numeric, clip, title = [*map(printable, numeric)], [*map(printable, clip)], title and printable(title)
    if not sys.stdout.isatty():
        _print_plain(columns, rows, numeric, title)
        return
    print_on(Console(markup=False, highlight=False), columns, rows, numeric, title, clip)


def print_on(
    console: Console, columns: Row, rows: Sequence[Row], numeric: Row = (), title: str | None = None, clip: Row = ()
) -> None:
    """Prints a table as wide as the terminal; one paragraph per row if words would be broken between letters."""
    least = [_least(name, [row[i] for row in rows], name in numeric, name in clip) for i, name in enumerate(columns)]
    if sum(least) + 3 * len(least) + 1 > console.width:
        _print_paragraphs(console, columns, rows, numeric, title)
        return
    table = Table(title=title, title_justify="left")
    for name, width in zip(columns, least):
        if name in clip:
            table.add_column(name, no_wrap=True, overflow="ellipsis", min_width=width, max_width=_CLIPPED)
        else:
            table.add_column(name, justify="right" if name in numeric else "left", overflow="fold", min_width=width)
    for row in rows:
        table.add_row(*(cell.replace(" ", _UNBROKEN) if name in numeric else cell for name, cell in zip(columns, row)))
    console.print(table)


def _least(name: str, cells: Row, is_numeric: bool, is_clipped: bool) -> int:
    """Returns the smallest readable width of a column: that of a number with its unit, or of the longest word."""
    heading = max(map(len, name.split()), default=0)
    if is_clipped:
        return min(_CLIPPED, max(heading, *map(len, cells), 0))
    return max(
        [heading, *(len(part) for cell in cells for part in (cell.replace(" ± ", " ±\n").split("\n" if is_numeric else None)))]
    )


def _print_paragraphs(console: Console, columns: Row, rows: Sequence[Row], numeric: Row, title: str | None) -> None:
    """Prints the first cell of each row in bold, and below it the others with the names of their columns."""
    if title:
        console.print(title, style="italic")
    for row in rows:
        console.print(f"{columns[0]} {row[0]}" if row[0].isdigit() else row[0], style="bold", soft_wrap=True)
        pairs = [(name, cell.replace(" ", _UNBROKEN) if name in numeric else cell) for name, cell in zip(columns, row) if cell]
        text = " · ".join(f"{name}:{_UNBROKEN}{cell}" for name, cell in pairs[1:])
        lines = textwrap.wrap(text, console.width - 2, break_on_hyphens=False)
        console.print(textwrap.indent("\n".join(lines), "  "), soft_wrap=True)


def _print_plain(columns: Row, rows: Sequence[Row], numeric: Row, title: str | None) -> None:
    if title:
        print(f"# {title}")
    lines = [columns, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    for line in lines:
        cells = (c.rjust(w) if name in numeric else c.ljust(w) for c, w, name in zip(line, widths, columns))
        print("  ".join(cells).rstrip())
