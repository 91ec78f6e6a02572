"""Ctrl-C and SIGTERM, between rounds.

An exception that is raised at any moment can come up inside native code, which may swallow it or die of it. So the first
signal is noted, and acted upon where the run is in one piece; a second one acts at once.
"""

from __future__ import annotations

import signal
import sys
import threading
from typing import Any


class Interruption:
    """`with Interruption() as interruption:` … `interruption.check()` wherever it is safe to stop."""

    def __init__(self) -> None:
        self._noted: int | None = None
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            self._handlers = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        if kind is None:
            self.check()

    def check(self) -> None:
        """Raises `KeyboardInterrupt` after SIGINT, `SystemExit(143)` after SIGTERM, if one has come in."""
        if self._noted == signal.SIGINT:
            raise KeyboardInterrupt
        if self._noted is not None:
            raise SystemExit(128 + self._noted)

    def _note(self, number: int, frame: object) -> None:
        if self._noted is not None:
            self.check()
        self._noted = number
        print("fedlab train: stopping after this round; once more stops at once", file=sys.stderr)
