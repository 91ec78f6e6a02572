"""Stops a sweep: its jobs save their state first, whichever process or machine they run on.

A signal reaches the process that leads the sweep, and jobs may have been started by others. So it writes the signal's number
into the sweep's folder, where whoever waits for a job looks several times a second and passes it on.
"""

from __future__ import annotations

import signal
import sys
import time
from typing import Any, NoReturn

from fedlab.archive.sweep import SweepFolder


def asked(folder: SweepFolder) -> int | None:
    """The number of the signal that the sweep is to stop with; None where it is to go on."""
    try:
        return int(folder.stop.read_text())
    except (OSError, ValueError):
        return None


def raise_for(number: int) -> NoReturn:
    """Ends this process as the signal would have, by an exception."""
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)


class Stopping:
    """`with Stopping(folder):` around a sweep, in the main thread of the process that leads it.

    The first signal is passed on to the jobs. A job that this very process waits for ends the sweep when it has ended;
    where others wait for the jobs, the signal's exception comes up here once none is running. A second one acts at once.
    """

    waiting_here = False  # whether this process is just now busy with a job

    def __init__(self, folder: SweepFolder):
        self._folder, self._noted = folder, False
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> Stopping:
        self._folder.stop.unlink(missing_ok=True)
        self._handlers = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: object) -> None:
        if self._noted:
            raise_for(number)
        self._noted = True
        print("fedlab train: stopping every job after its round; once more stops at once", file=sys.stderr, flush=True)
        self._folder.stop.write_text(str(number))
        if Stopping.waiting_here:
            return
        while any(record.status == "running" for _, record in self._folder.jobs()):
            time.sleep(0.2)
        raise_for(number)
