"""Stops this process, and the processes it starts, on signals and when the parent ends.

`python -I fedlab/stopping.py PARENT COMMAND…` runs COMMAND in this process: it is killed when the process PARENT ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

# Ctrl-C; `kill` or a cluster that reclaims the machine; a closed terminal or connection
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_PR_SET_PDEATHSIG = 1  # from linux/prctl.h
_Handlers = dict[int, Any]


class Stopped(SystemExit):
    """A signal ends this process. Any other `SystemExit` comes from a component that exits, which is a mistake in it."""


STOPS = (KeyboardInterrupt, Stopped)  # the exceptions of `stop`


class OnSignal:
    """In `with OnSignal(handler):` each of `SIGNALS` calls `handler(number)` instead of its default. Main thread only.

    `nohup` starts a process with SIGHUP ignored: it stays ignored. A closing terminal may send SIGHUP several times: only the
    first one counts, in this block and after it.
    """

    def __init__(self, handler: Callable[[int], None]):
        self._handler = handler
        self._before: _Handlers = {}

    def __enter__(self) -> OnSignal:
        """Installs the handler. Call it directly, without `with`, for a permanent handler."""
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
    """Ends this process by an exception for the signal `number`, so that child processes end and files are complete."""
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise Stopped(128 + number)


class Interruption:
    """In `with Interruption() as interruption:`, call `interruption.check()` wherever it is safe to stop.

    An exception at an arbitrary moment can be raised inside native code, which may swallow it or crash. So the first signal is
    only noted, and `check` acts on it when the run is in a consistent state; a second signal acts at once.
    """

    def __init__(self) -> None:
        self._noted: int | None = None
        self._handling = OnSignal(self._note) if threading.current_thread() is threading.main_thread() else None

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
        """Raises `KeyboardInterrupt` after SIGINT, and `Stopped` (128 + its number) after another signal."""
        if self._noted is not None:
            stop(self._noted)

    def _note(self, number: int) -> None:
        if self._noted is not None:
            self.check()
        self._noted = number
        print("fedlab train: stopping after this round; a second signal stops at once", file=sys.stderr)


@contextlib.contextmanager
def ending(child: subprocess.Popen, number: int = signal.SIGTERM) -> Iterator[None]:
    """Guarantees that `child` has ended after `with ending(child):`, and closes its pipes, whatever is raised in the block.

    If the block ends before the child, sends it the signal `number` and waits; an exception during this wait kills it. Every
    process that fedlab starts and that it does not give to another owner runs in such a block. Use SIGKILL for a child with
    pipes, which it might wait to write to.
    """
    with child:
        try:
            yield
        finally:
            try:
                child.send_signal(number)  # nothing if it has ended
                child.wait()
            except BaseException:
                child.kill()
                child.wait()
                raise


def end_with(parent: int, number: int) -> bool:
    """Makes the kernel send this process the signal `number` when its parent ends, for any reason.

    Returns False if `parent` is no longer the parent. The kernel also sends the signal when the thread that started this process
    ends.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)
    return os.getppid() == parent


if __name__ == "__main__":
    os.setpgid(0, 0)  # Ctrl-C goes to all processes of a terminal's group; the parent ends this one
    if end_with(int(sys.argv[1]), signal.SIGKILL):
        os.execv(sys.argv[2], sys.argv[2:])
