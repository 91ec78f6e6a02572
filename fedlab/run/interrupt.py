"""Ctrl-C, SIGTERM and SIGHUP, between rounds.

An exception that is raised at any moment can come up inside native code, which may swallow it or die of it. So the first
signal is noted, and acted upon where the run is in one piece; a second one acts at once.
"""

from __future__ import annotations

import sys
import threading

from fedlab import stopping


class Interruption:
    """`with Interruption() as interruption:` … `interruption.check()` wherever it is safe to stop."""

    def __init__(self) -> None:
        self._noted: int | None = None
        self._handling = stopping.OnSignal(self._note) if threading.current_thread() is threading.main_thread() else None

    def __enter__(self) -> Interruption:
        if self._handling:
            self._handling.__enter__()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self._handling:
            self._handling.__exit__()
        if kind is None:
            self.check()

    def check(self) -> None:
        """Raises `KeyboardInterrupt` after SIGINT, `SystemExit` (128 + its number) after another, if one has come in."""
        if self._noted is not None:
            stopping.stop(self._noted)

    def _note(self, number: int) -> None:
        if self._noted is not None:
            self.check()
        self._noted = number
        print("fedlab train: stopping after this round; once more stops at once", file=sys.stderr)
