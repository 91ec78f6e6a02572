"""The lines of text that a run prints as it progresses; the caller decides where they appear."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from fedlab.run.loggers import Logger

_SILENT_SECONDS = 2.0  # minimum interval between two lines about rounds


class Caution(str):
    """A line that needs attention."""


class Failure(Caution):
    """A line that says which part of a run has failed while the run continues, such as a logger. Nobody may hide it."""


OnLine = Callable[[str], None]  # receives each line at once
Following = Callable[[int], Sequence[Logger]]  # given the number of rounds, returns loggers that show them


def nobody(num_rounds: int) -> Sequence[Logger]:
    """Returns no loggers."""
    return ()


class RoundLines:
    """A logger that passes `on_line` the first and the last round, and at most one of the others per two seconds."""

    def __init__(self, num_rounds: int, on_line: OnLine):
        self._num_rounds, self._on_line, self._progress = num_rounds, on_line, Progress(num_rounds)
        self._last_line = -_SILENT_SECONDS
        self._held = ""  # the line about the newest round, if it has not been passed on

    def log(self, record: dict[str, Any]) -> None:
        self._progress.note(record)
        number = f"round {record['round']:>{len(str(self._num_rounds))}}/{self._num_rounds}"
        self._held = "  ".join(filter(None, (number, self._progress.described(), self._progress.left())))
        now = time.monotonic()
        if now - self._last_line >= _SILENT_SECONDS or record["round"] in (1, self._num_rounds):
            self._last_line = now
            self._pass_on()

    def close(self) -> None:
        """Passes on the line about the last round of a run that has ended before its time."""
        if self._held:
            self._pass_on()

    def _pass_on(self) -> None:
        self._on_line(self._held)
        self._held = ""


class Progress:
    """The newest loss and accuracy, and the seconds per round."""

    def __init__(self, num_rounds: int):
        self._num_rounds, self._done = num_rounds, 0
        self._seconds: list[float] = []
        self._known: dict[str, float] = {}

    def note(self, record: dict[str, Any]) -> None:
        """Stores the record of a round."""
        for name in [n for n in self._known if n.rpartition("/")[2].startswith("train_")]:  # valid for their own round only
            del self._known[name]
        self._known.update({k: v for k, v in record.items() if isinstance(v, (int, float))})
        self._seconds.append(record["seconds"])
        self._done = record["round"]

    def described(self) -> str:
        """Returns loss, accuracy and seconds per round, in a line."""
        parts = []
        for name in [n for n in self._known if n.rpartition("/")[2] == "train_loss"]:
            parts.append(f"{_arm(name)}loss {self._known[name]:.4f}")
        tested = [n for n in self._known if n.rpartition("/")[2].startswith("test_") and not n.endswith("/test_loss")]
        first = {n.rpartition("/")[0]: n for n in reversed(tested) if n != "test_loss"}  # of each arm, the first except the loss
        for name in reversed(first.values()):
            value, metric = self._known[name], name.rpartition("/")[2].replace("_", " ")
            parts.append(f"{_arm(name)}{metric} {f'{value:.2%}' if 'accuracy' in metric else f'{value:.4g}'}")
        return "  ".join([*parts, f"{self._median():.3f} s/round"])

    def left(self) -> str:
        """Returns the estimated time of the remaining rounds; "" for less than a second."""
        left = (self._num_rounds - self._done) * self._median()
        return f"{_duration(left)} left" if left >= 1 else ""

    def _median(self) -> float:
        """Returns the median seconds of the recent rounds."""
        recent = sorted(self._seconds[1:][-9:] or self._seconds)  # the first round includes compiling
        return recent[len(recent) // 2]


def _arm(metric: str) -> str:
    """Returns the arm's name as a prefix of the metric's."""
    return " ".join(metric.split("/")[:-1]) + " " * ("/" in metric)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
