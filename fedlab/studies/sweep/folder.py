"""The folder of a sweep: a run folder per job, and sweep.json, which `results` describes."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Iterator

from fedlab.archive.folder import make_folder
from fedlab.archive.lock import RunLock
from fedlab.archive.task import Learned, learned_in
from fedlab.errors import FedlabError
from fedlab.run.child import JobFolder, JobRecord, writing


class SweepFolder:
    """The paths of the files of a sweep."""

    def __init__(self, path: pathlib.Path):
        self.path = path
        self.table = path / "sweep.json"
        self.study = path / "optuna.db"
        self.lock = path / ".lock"  # locked while the sweep runs
        self.stop = path / ".stop"  # exists when the jobs must stop; contains the number of the signal

    def writing(self) -> RunLock:
        """Returns the lock for writing sweep.json or a job.json, because concurrent jobs write them."""
        return writing(self.path)

    def jobs(self) -> list[tuple[JobFolder, JobRecord]]:
        """Returns the folder and the record of every job that has begun, by number."""
        folders = [JobFolder(path.parent) for path in self.path.glob("*/job.json")]
        found = [(folder, record) for folder in folders if (record := folder.read())]
        return sorted(found, key=lambda pair: (pair[1].number, pair[0].path.name))

    def task(self) -> Learned | None:
        """Returns the task of the first job that has begun to train; None if there is none yet."""
        for folder, _ in self.jobs():
            with contextlib.suppress(OSError, ValueError):
                return learned_in(folder)
        return None

    @contextlib.contextmanager
    def made(self) -> Iterator[None]:
        """Creates the folder; removes it again if a mistake is found before the first job, unless it existed before.

        Raises `FedlabError` if the folder cannot be created.
        """
        new = [path for path in (self.path, *self.path.parents) if not path.exists()]
        try:
            make_folder(self.path)
        except OSError as error:
            raise FedlabError(f"cannot make the folder {self.path} ({error.strerror}): set hydra.sweep.dir=FOLDER.") from error
        try:
            yield
        except FedlabError:
            if self.path in new and not self.jobs():
                for file in self.path.iterdir():  # of Hydra, Optuna and the lock; never a folder
                    file.unlink()
                with contextlib.suppress(OSError):  # another sweep has begun in a parent folder
                    for path in new:
                        path.rmdir()
            raise


def runs_in(path: pathlib.Path, stack: contextlib.ExitStack) -> list[pathlib.Path] | None:
    """Returns the folders of a sweep's runs, locked until `stack` ends; None if `path` is not a sweep."""
    sweep = SweepFolder(path)
    if not sweep.table.is_file():
        return None
    stack.enter_context(RunLock(sweep.lock))
    return [job.path for job, _ in sweep.jobs() if job.manifest.is_file()]
