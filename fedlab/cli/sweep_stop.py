"""Stops a sweep: its jobs save their state first, whichever process or machine they run on.

A signal reaches the process that leads the sweep, and jobs may have been started by others. So it writes the signal's number
into the sweep's folder, where whoever waits for a job looks several times a second and passes it on.
"""

from __future__ import annotations

import signal
import sys
import time

from fedlab import stopping
from fedlab.archive.sweep import SweepFolder


def asked(folder: SweepFolder) -> int | None:
    """The number of the signal that the sweep is to stop with; None where it is to go on."""
    try:
        return int(folder.stop.read_text())
    except (OSError, ValueError):
        return None


def for_jobs(number: int) -> int:
    """The signal to stop a job with: it has no terminal that could go, and SIGHUP may be ignored where it was started."""
    return signal.SIGTERM if number == signal.SIGHUP else number


class Stopping:
    """`with Stopping(folder):` around a sweep, in the main thread of the process that leads it.

    The first signal is passed on to the jobs. A job that this very process waits for ends the sweep when it has ended;
    where others wait for the jobs, the signal's exception comes up here once none is running. A second one acts at once.
    """

    waiting_here = False  # whether this process is just now busy with a job

    def __init__(self, folder: SweepFolder):
        self._folder, self._noted = folder, False
        self._handling = stopping.OnSignal(self._note)

    def __enter__(self) -> Stopping:
        self._folder.stop.unlink(missing_ok=True)
        self._handling.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._handling.__exit__()

    def _note(self, number: int) -> None:
        if self._noted:
            stopping.stop(number)
        self._noted = True
        print("fedlab train: stopping every job after its round; once more stops at once", file=sys.stderr, flush=True)
        self._folder.stop.write_text(str(number))
        if Stopping.waiting_here:
            return
        while any(record.status == "running" for _, record in self._folder.jobs()):
            time.sleep(0.2)
        stopping.stop(number)
