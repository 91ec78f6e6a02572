"""The folder of a sweep: a run folder per job, and sweep.json, which tells of them all.

sweep_version   1
name            the experiment, or the data and the process
command         as typed; the same again goes on with the sweep
status          running, finished, interrupted or failed; one whose process was killed stays `running`, and nobody holds its lock
objective       {metrics, directions}: figures of summary.json, and maximize or minimize for each
parameters      the dotted keys in which jobs differ
jobs            {number, folder, parameters, status, objective, seconds, failure, command} each: its folder from here, its
                parameters' values, the objective's values or null, why it failed or null, and what runs it by itself
groups          {jobs, parameters, objective, deviation} each: jobs that differ in their seed alone, by number; mean and standard
                deviation of their objectives, null where a job has none, and where there is only one job the deviation
best            numbers of the jobs of the best group, or where there are several metrics of all groups that no other beats in all
best_command    runs the first of them again by itself; null where there is none
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import shutil
from typing import Any

from fedlab.archive.folder import RunFolder, make_folder, write_json
from fedlab.archive.lock import RunLock
from fedlab.errors import FedlabError

VERSION = 1


@dataclasses.dataclass
class JobRecord:
    """job.json: one job of a sweep, before it begins and after it has ended."""

    number: int
    name: str
    command: str
    parameters: dict[str, Any]
    config: dict[str, Any]
    status: str = "running"
    failure: str | None = None
    seconds: float = 0.0  # over all attempts
    invocation: str = ""  # of the sweep's command, the last that wanted this job


class JobFolder(RunFolder):
    """The run folder of a job: what its sweep notes of it, and what it prints, are beside what the run leaves."""

    def __init__(self, path: pathlib.Path):
        super().__init__(path)
        self.record = path / "job.json"
        self.log = path / "log.txt"

    def discard(self) -> None:
        """Removes what an earlier attempt has left, but for the sweep's notes, the log and the lock that may be held."""
        for path in self.path.iterdir():
            if path not in (self.record, self.log, self.lock):
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def read(self) -> JobRecord | None:
        """The record, or None where there is none to be read."""
        try:
            return JobRecord(**json.loads(self.record.read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, record: JobRecord) -> None:
        with SweepFolder(self.path.parent).writing():
            write_json(self.record, dataclasses.asdict(record))


class SweepFolder:
    """Names what a sweep leaves behind."""

    def __init__(self, path: pathlib.Path):
        self.path = path
        self.table = path / "sweep.json"
        self.study = path / "optuna.db"
        self.lock = path / ".lock"  # held while the sweep goes on
        self.stop = path / ".stop"  # there when the jobs are to stop; holds the number of the signal

    def writing(self) -> RunLock:
        """Held while sweep.json or a job.json is written: jobs side by side do so, even of the same configuration."""
        return RunLock(self.path / ".writing", 30.0)

    def jobs(self) -> list[tuple[JobFolder, JobRecord]]:
        """Folder and record of every job that has begun, by number."""
        folders = [JobFolder(path.parent) for path in self.path.glob("*/job.json")]
        found = [(folder, record) for folder in folders if (record := folder.read())]
        return sorted(found, key=lambda pair: (pair[1].number, pair[0].path.name))

    def make(self) -> None:
        """Raises `FedlabError` where the folder cannot be made."""
        try:
            make_folder(self.path)
        except OSError as error:
            raise FedlabError(f"cannot make the folder {self.path} ({error.strerror}): set hydra.sweep.dir=FOLDER.") from error
