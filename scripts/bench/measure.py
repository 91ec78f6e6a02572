"""Runs one command and watches it: how long, how much memory it and its children take, and who else used the CPUs."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import subprocess
import tempfile
import time
from collections.abc import Sequence

import psutil

INTERVAL = 0.25  # seconds between two looks; each costs milliseconds of a core


class CommandFailed(Exception):
    """The command ended with an error; holds the last lines it printed."""


@dataclasses.dataclass(frozen=True)
class Measurement:
    """One run of a command."""

    started: float  # time of day
    peak_memory_bytes: int  # resident memory of the whole process tree, its largest sum at one look
    busy_elsewhere: float  # CPU seconds per second that went to other processes of the machine or were taken from it
    stdout: str


def measure(command: Sequence[str]) -> Measurement:
    """Runs `command` to its end; what outlives it is ended by process id. Raises `CommandFailed`."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        started, busy_before, peak = time.time(), _busy_seconds(), 0
        tree: dict[psutil.Process, float] = {psutil.Process(): _cpu_seconds(psutil.Process())}
        own_before = sum(tree.values())
        child = psutil.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        try:
            tree[child] = 0.0
            while child.poll() is None:
                peak = max(peak, _look(child, tree))
                time.sleep(INTERVAL)
            seconds, busy, own = time.time() - started, _busy_seconds() - busy_before, sum(tree.values()) - own_before
        finally:
            _end(tree)
        out.seek(0), err.seek(0)
        if child.returncode:
            raise CommandFailed(f"exit status {child.returncode}\n" + "".join(err.readlines()[-15:]))
        return Measurement(started, peak, max(0.0, busy - own) / seconds, out.read())


def _look(child: psutil.Process, tree: dict[psutil.Process, float]) -> int:
    """Adds new processes and the CPU seconds so far to `tree`; returns the bytes resident now."""
    memory = 0
    with contextlib.suppress(psutil.NoSuchProcess):
        tree.update({p: 0.0 for p in (child, *child.children(recursive=True)) if p not in tree})
    for process in tree:
        with contextlib.suppress(psutil.NoSuchProcess):  # its last figure stands
            tree[process] = _cpu_seconds(process)
            memory += process.memory_info().rss if process.pid != os.getpid() else 0
    return memory


def _end(tree: dict[psutil.Process, float]) -> None:
    for process in tree:
        if process.pid != os.getpid():
            with contextlib.suppress(psutil.NoSuchProcess):  # psutil knows a reused process id
                process.kill()
    psutil.wait_procs([p for p in tree if p.pid != os.getpid()], timeout=5)


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def _busy_seconds() -> float:
    times = psutil.cpu_times()
    return sum(times) - times.idle - times.iowait - times.guest - times.guest_nice  # user holds the guests' as well
