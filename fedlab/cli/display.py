"""What a user sees while a run goes on: a live line on a terminal, plain lines elsewhere, nothing when quiet."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column

_SILENT_SECONDS = 2.0  # elsewhere than on a terminal, at most a line in so many seconds


class RoundDisplay:
    """A logger that shows round, loss, accuracy, seconds per round and time left."""

    def __init__(self, num_rounds: int, console: Console):
        self._num_rounds = num_rounds
        self._console = console
        self._seconds: list[float] = []
        self._last_line = -_SILENT_SECONDS
        self._known: dict[str, float] = {}
        self._progress: Progress | None = None
        if console.is_terminal:
            self._progress = Progress(
                TextColumn("round"),
                MofNCompleteColumn(),
                BarColumn(bar_width=15),
                TimeElapsedColumn(),
                TextColumn("{task.fields[left]}"),
                # takes the room that is left, and is cut short where that is little
                TextColumn("{task.description}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
                console=console,
                expand=True,
            )
            self._task = self._progress.add_task("compiling…", total=num_rounds, left="")
            self._progress.start()

    def log(self, record: dict[str, Any]) -> None:
        self._known.update({k: v for k, v in record.items() if isinstance(v, (int, float))})
        self._seconds.append(record["seconds"])
        line, left = self._describe(), self._left(record)
        if self._progress:
            self._progress.update(self._task, completed=record["round"], description=line, left=left)
            return
        line = "  ".join(filter(None, (line, left)))
        now = time.monotonic()
        if now - self._last_line >= _SILENT_SECONDS or record["round"] in (1, self._num_rounds):
            self._last_line = now
            self._console.print(
                f"round {record['round']:>{len(str(self._num_rounds))}}/{self._num_rounds}  {line}",
                highlight=False,
                soft_wrap=True,
            )

    def close(self) -> None:
        if self._progress:
            self._progress.stop()

    def _describe(self) -> str:
        parts = []
        for name in [n for n in self._known if n.rpartition("/")[2] == "train_loss"]:
            parts.append(f"{_arm(name)}loss {self._known[name]:.4f}")
        for name in [n for n in self._known if n.rpartition("/")[2] == "test_accuracy"]:
            parts.append(f"{_arm(name)}test accuracy {self._known[name]:.2%}")
        return "  ".join([*parts, f"{self._median():.3f} s/round"])

    def _median(self) -> float:
        """Seconds of a round, of late."""
        recent = sorted(self._seconds[1:][-9:] or self._seconds)  # the first round compiles
        return recent[len(recent) // 2]

    def _left(self, record: dict[str, Any]) -> str:
        """The time that the remaining rounds will take; "" for less than a second."""
        left = (self._num_rounds - record["round"]) * self._median()
        return f"{_duration(left)} left" if left >= 1 else ""


def _arm(metric: str) -> str:
    """The name of the arm whose metric it is, before that of the metric."""
    return " ".join(metric.split("/")[:-1]) + " " * ("/" in metric)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
