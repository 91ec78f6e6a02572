"""How this process, and the processes it starts, are told to stop.

`python -I fedlab/stopping.py PARENT COMMAND…` runs COMMAND in this process: it is killed when the process PARENT ends.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

# Ctrl-C; `kill`, or a cluster that wants its machine back; a terminal, or the connection to it, that is gone
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_PR_SET_PDEATHSIG = 1  # from linux/prctl.h
_Handlers = dict[int, Any]


class OnSignal:
    """`with OnSignal(handler):` each of `SIGNALS` calls `handler(number)` instead of what it does otherwise. Main thread only.

    `nohup` starts a process with SIGHUP ignored: it stays ignored. A terminal that goes may tell so more than once: only the
    first time counts, in this block and after it.
    """

    def __init__(self, handler: Callable[[int], None]):
        self._handler = handler
        self._before: _Handlers = {}

    def __enter__(self) -> OnSignal:
        """May also be called as a function, for a handler that is to stay."""
        for number in SIGNALS:
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._called)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _called(self, number: int, frame: object) -> None:
        if number == signal.SIGHUP:
            self._before[number] = signal.SIG_IGN
            signal.signal(number, signal.SIG_IGN)
        self._handler(number)


def stop(number: int) -> None:
    """Ends this process by an exception, as the signal `number` asks: what it has started is ended, and files are whole."""
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    sys.exit(128 + number)


def end_with(parent: int, number: int) -> bool:
    """Has the kernel send this process the signal `number` when its parent ends, however that happens.

    Returns False where the parent is `parent` no more. The kernel also sends it when the parent's thread ends that started this
    process.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)
    return os.getppid() == parent


if __name__ == "__main__":
    os.setpgid(0, 0)  # Ctrl-C in a terminal goes to all processes of a group: the parent decides when this one ends
    if end_with(int(sys.argv[1]), signal.SIGKILL):
        os.execv(sys.argv[2], sys.argv[2:])
