"""Stops a sweep: its jobs save their state first, on every process and machine.

A signal reaches the process that leads the sweep, but other processes may have started the jobs. So the leader writes the
signal's number to the sweep's folder. Each process that waits for a job looks there several times per second and passes it on.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable

from fedlab import stopping
from fedlab.studies.sweep.folder import SweepFolder


def asked(folder: SweepFolder) -> int | None:
    """Returns the number of the signal that stops the sweep; None while the sweep continues."""
    try:
        return int(folder.stop.read_text())
    except (OSError, ValueError):
        return None


def for_jobs(number: int) -> int:
    """Returns the signal that stops a job: SIGTERM in place of SIGHUP, which the job's parent may have set to be ignored."""
    return signal.SIGTERM if number == signal.SIGHUP else number


class Stopping:
    """The signal handling of the process that leads a sweep: `with Stopping(folder, problem):`, in the main thread.

    It passes the first signal on to the jobs. If this process waits for a job, the sweep ends when that job has ended; if other
    processes wait, the signal's exception is raised here once no job is running. A second signal acts at once.
    """

    waiting_here = False  # whether this process is running a job

    def __init__(self, folder: SweepFolder, problem: Callable[[str], None]):
        self._folder, self._problem, self._noted = folder, problem, False
        self._handling = stopping.OnSignal(self._note) if threading.current_thread() is threading.main_thread() else None

    def __enter__(self) -> Stopping:
        self._folder.stop.unlink(missing_ok=True)
        if self._handling:
            self._handling.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        if self._handling:
            self._handling.__exit__()

    def _note(self, number: int) -> None:
        if self._noted:
            stopping.stop(number)
        self._noted = True
        self._problem("fedlab train: stopping every job after its round; once more stops at once")
        self._folder.stop.write_text(str(number))
        if Stopping.waiting_here:
            return
        while any(record.status == "running" for _, record in self._folder.jobs()):
            time.sleep(0.2)
        stopping.stop(number)
