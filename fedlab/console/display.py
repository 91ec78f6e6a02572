"""The display of a run in progress: a live line on a terminal, plain lines elsewhere, nothing when quiet."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from rich import progress
from rich.console import Console
from rich.table import Column
from rich.text import Text

from fedlab.errors import printable
from fedlab.run.loggers import Logger
from fedlab.run.progress import Caution, Failure, Following, OnLine, Progress, RoundLines


def say(console: Console, line: str) -> None:
    """Prints one line, with rich's markup, and does not wrap it at the width of the terminal."""
    console.print(line, highlight=False, soft_wrap=True)


def lines_on(console: Console) -> OnLine:
    """Returns a function that prints each line of a run unchanged, each `Caution` in yellow, and each `Failure` on stderr.

    A `Failure` is printed even if the console is quiet.
    """

    def on_line(line: str) -> None:
        if isinstance(line, Failure):
            print(f"fedlab train: {printable(line)}", file=sys.stderr, flush=True)
            return
        console.print(Text(printable(line), style="yellow" if isinstance(line, Caution) else ""), soft_wrap=True)

    return on_line


def rounds_on(console: Console) -> Following:
    """Returns a function that builds the loggers that show rounds on `console`: none if it is quiet."""

    def following(num_rounds: int) -> Sequence[Logger]:
        if console.quiet:
            return []
        return [RoundBar(num_rounds, console) if console.is_terminal else RoundLines(num_rounds, lines_on(console))]

    return following


class RoundBar:
    """A logger that keeps one line of a terminal up to date: round, time, loss, accuracy, seconds per round and time left."""

    def __init__(self, num_rounds: int, console: Console):
        self._progress = Progress(num_rounds)
        self._bar = progress.Progress(
            progress.TextColumn("round"),
            progress.MofNCompleteColumn(),
            progress.BarColumn(bar_width=15),
            progress.TimeElapsedColumn(),
            progress.TextColumn("{task.fields[left]}"),
            # uses the remaining width, and is cut short where that is small
            progress.TextColumn("{task.description}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
            console=console,
            expand=True,
        )
        self._task = self._bar.add_task("compiling…", total=num_rounds, left="")
        self._bar.start()

    def log(self, record: dict[str, Any]) -> None:
        self._progress.note(record)
        described, left = self._progress.described(), self._progress.left()
        self._bar.update(self._task, completed=record["round"], description=described, left=left)

    def close(self) -> None:
        self._bar.stop()
