"""Starts a run in a separate process, such as a job of a sweep: its folder, its record job.json, its command."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fedlab import trust
from fedlab.archive.folder import RunFolder, private, write_json
from fedlab.archive.lock import RunLock
from fedlab.archive.reading import read_run
from fedlab.errors import FedlabError
from fedlab.fingerprint import parsed_json
from fedlab.moved import with_present_names
from fedlab.stopping import ending
from fedlab.trust import FLAG

# `python -m` and `python -c` search every module in the current folder first, which may contain a file such as yaml.py
_BOOT = "import sys; sys.path[:] = filter(None, sys.path); from fedlab.cli.job_process import {0}; sys.exit({0}())"


@dataclasses.dataclass
class JobRecord:
    """job.json: one run in a separate process, before its start and after its end. `number`: in a sweep, else 0."""

    number: int
    name: str
    command: str
    parameters: dict[str, Any]
    config: dict[str, Any]
    status: str = "running"
    failure: str | None = None
    seconds: float = 0.0  # over all attempts
    invocation: str = ""  # the last command of the sweep that requested this job


class JobFolder(RunFolder):
    """The run folder of a job, with the sweep's record and the job's output in addition to the run's files."""

    def __init__(self, path: pathlib.Path):
        super().__init__(path)
        self.record = path / "job.json"
        self.log = path / "log.txt"

    def discard(self) -> None:
        """Removes the files of an earlier attempt, except the sweep's record, the log and the lock, which may be in use."""
        for path in self.path.iterdir():
            if path not in (self.record, self.log, self.lock):
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def read(self) -> JobRecord | None:
        """Returns the record, or None if it is missing or unreadable."""
        try:
            return JobRecord(**with_present_names(parsed_json(self.record.read_text())))
        except (OSError, ValueError, TypeError):
            return None

    @property
    def status(self) -> str | None:
        """Returns the status of its run; None without a run."""
        try:
            return read_run(self.path).status
        except FedlabError:
            return None

    def last_line(self) -> str | None:
        """Returns the last line of the run's output, which names the cause of a failure; None if there is no output."""
        return last_line(self.log)

    def write(self, record: JobRecord) -> None:
        with writing(self.path.parent):
            write_json(self.record, dataclasses.asdict(record))


def last_line(log: pathlib.Path) -> str | None:
    """Returns the last line of a process's output, without the name of its verb; None if there is no output."""
    try:
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    except OSError:
        return None
    return re.sub(r"^fedlab [a-z]+: ", "", lines[-1]) if lines else None


def writing(folder: pathlib.Path) -> RunLock:
    """Returns the lock for writing a job.json, or a table of them, below `folder`; parallel jobs need it."""
    return RunLock(folder / ".writing", 30.0)


def job_command(folder: pathlib.Path, trusted: bool | None = None) -> list[str]:
    """Returns the command for the job in `folder`/job.json. `trusted`: whether --trust was given; None: as for this process."""
    everything = trust.everything_is_trusted() if trusted is None else trusted
    return [sys.executable, "-c", _BOOT.format("main"), str(folder), str(os.getpid()), *([FLAG] if everything else [])]


@contextlib.contextmanager
def running(
    folder: JobFolder, trusted: bool | None = None, cwd: pathlib.Path | None = None, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen]:
    """Starts the run of job.json in `folder`; its output goes to log.txt. `trusted`: as for `job_command`.

    After the block the process has ended: if the block ends early, for example by an exception, the run saves its state and
    stops. The process has its own session: Ctrl-C in a terminal reaches only this process, which passes it on once.
    """
    with _begun(job_command(folder.path, trusted), folder.log, None, cwd, environment) as child:
        yield child


@contextlib.contextmanager
def verb_running(
    words: Sequence[str], log: pathlib.Path, output: pathlib.Path | None = None, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen]:
    """Starts `fedlab WORDS` in a process of its own. It prints to `log`, or prints errors to `log` and all else to `output`.

    After the block the process has ended, as for `running`.
    """
    command = [sys.executable, "-c", _BOOT.format("verb"), str(os.getpid()), *words]
    with _begun(command, log, output, None, environment) as child:
        yield child


@contextlib.contextmanager
def _begun(
    command: Sequence[str],
    log: pathlib.Path,
    output: pathlib.Path | None,
    cwd: pathlib.Path | None,
    environment: Mapping[str, str] | None,
) -> Iterator[subprocess.Popen]:
    with contextlib.ExitStack() as files:
        errors = files.enter_context(open(log, "ab", opener=private))
        printed = files.enter_context(open(output, "wb", opener=private)) if output else errors
        child = subprocess.Popen(
            command, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, stdout=printed, stderr=errors, start_new_session=True
        )
        with ending(child):
            yield child
