"""A scorecard as text: the cells of its table, scorecard.md, and the lines that `fedlab reproduce` prints."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

from fedlab.archive.folder import replacing
from fedlab.digits import NONE
from fedlab.report import words
from fedlab.studies.reproduce.measuring import shown, shown_difference
from fedlab.studies.reproduce.results import FAILED, NOT_RUN, PASSED, Card, CardRow

COLUMNS = ("row", "figure", "paper", "here", "difference", "verdict")


def paper(row: CardRow) -> str:
    """Returns the paper's figure in words."""
    return shown(row.figure, row.paper)


def here(row: CardRow) -> str:
    """Returns the measured figure: mean ± standard deviation over seeds."""
    spread = f" ± {shown(row.figure, row.deviation, 2)}" if row.deviation is not None else ""
    return f"{shown(row.figure, row.mean)}{spread}"


def difference(row: CardRow) -> str:
    """Returns the measured figure minus the paper's."""
    return shown_difference(row.figure, row.difference)


def cells(row: CardRow) -> tuple[str, ...]:
    """Returns the cells of a row, in the order of `COLUMNS`."""
    return row.name, row.metric, paper(row), here(row), difference(row), row.verdict


def outcome(card: Card) -> str:
    """Returns the number of rows per verdict, and the names of those that were not run, in one line."""
    asked = [row for row in card.rows if row.asked]
    passed, failed = card.of(PASSED, asked=True), card.of(FAILED, asked=True)
    line = f"{len(passed):,} of the {words.counted(len(asked), 'row')} asked for passed"
    line += f", {len(failed):,} failed ({', '.join(row.name for row in failed)})" if failed else ""
    left = card.of(NOT_RUN)
    return line + (f"; not run: {', '.join(row.name for row in left)}" if left else "")


def reasons(rows: Sequence[CardRow]) -> list[str]:
    """Returns a line per failed row: its rule, and the reason of the verdict."""
    return [f"{row.name}: {row.rule}: {row.reason}" for row in rows]


def write(card: Card, path: pathlib.Path) -> None:
    """Writes scorecard.md."""
    lines = [f"# {card.title}", "", f"{card.paper}. {outcome(card)}.", "", f"    {card.command}", ""]
    head = ("row", "source", *COLUMNS[1:], "rule", "run")
    lines += [_line(head), _line(["---"] * len(head))]
    for row in card.rows:
        name, *others = cells(row)
        ended = f"{', '.join(row.runs)} ({words.when(row.ended)})" if row.ended else NONE
        lines.append(_line((name, row.source, *others, row.rule, ended)))
    explained = [row for row in card.rows if row.note or row.verdict == FAILED]
    lines += ["", *(f"- {row.name}: {_explained(row)}" for row in explained)] if explained else []
    with replacing(path) as partial:
        partial.write_text("\n".join(lines) + "\n")


def _explained(row: CardRow) -> str:
    failed = f"failed, {row.reason}. " if row.verdict == FAILED else ""
    return f"{failed}{row.note}".strip()


def _line(values: Sequence[str]) -> str:
    return "| " + " | ".join(value.replace("|", "\\|").replace("\n", " ") for value in values) + " |"
