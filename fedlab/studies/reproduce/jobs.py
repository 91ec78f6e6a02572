"""The processes behind the rows of a scorecard: a run, a batch of runs of another study, or a verb that computes figures."""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import os
import pathlib
import subprocess
from collections.abc import Mapping
from typing import Any

from fedlab import registry
from fedlab.archive import make_folder, manifest, read_run
from fedlab.archive.folder import write_json
from fedlab.errors import FedlabError, did_you_mean
from fedlab.fingerprint import parsed_json
from fedlab.registry import Batch
from fedlab.run.child import JobFolder, JobRecord, last_line, running, verb_running
from fedlab.studies.reproduce.measuring import measured
from fedlab.studies.reproduce.scorecard import Row

Process = contextlib.AbstractContextManager[subprocess.Popen]
Environment = Mapping[str, str] | None


@dataclasses.dataclass(frozen=True)
class Job(abc.ABC):
    """One process. `about`: its seeds, or the kind of its work, in words. `command`: does the same alone."""

    folder: pathlib.Path
    name: str
    about: str
    command: str

    doing = "training"
    trains = True

    @property
    def alone(self) -> bool:
        """Returns True if no other job of this kind may run at the same time."""
        return False

    @property
    def label(self) -> str:
        """Returns its name in lines of progress."""
        return f"{self.name}, {self.about}"

    @property
    def named(self) -> str:
        """Returns its name in reasons."""
        return f"the run with {self.about}"

    @property
    def log(self) -> pathlib.Path:
        """Returns the file with its output."""
        return self.folder / "log.txt"

    @property
    @abc.abstractmethod
    def has_finished(self) -> bool:
        """Returns True if its figures are in the folder."""

    @property
    def is_due(self) -> bool:
        """Returns True if its process must run, because its figures are not there."""
        return not self.has_finished

    @abc.abstractmethod
    def running(self, environment: Environment = None) -> Process:
        """Starts or continues its process; after the block the process has ended. None: the environment of this process."""

    @abc.abstractmethod
    def values(self, row: Row) -> tuple[list[Any], str]:
        """Returns the figures of `row`, one per seed, and a remark on them. Raises `FedlabError` if there are none."""

    @abc.abstractmethod
    def ended(self) -> str | None:
        """Returns the time at which it ended."""

    def failure(self, code: int) -> str | None:
        """Returns the reason for which a process that ended with `code` has failed; None if it has not."""
        return None if code == 0 else last_line(self.log) or f"its process ended with code {code}"


@dataclasses.dataclass(frozen=True)
class RunJob(Job):
    """One run. `config`: resolved."""

    seed: int
    config: Mapping[str, Any]

    @property
    def has_finished(self) -> bool:
        return JobFolder(self.folder).status == "finished"

    @contextlib.contextmanager
    def running(self, environment: Environment = None) -> Any:
        folder = JobFolder(self.folder)
        make_folder(folder.path)
        folder.write(JobRecord(number=0, name=self.name, command=self.command, parameters={}, config=dict(self.config)))
        with running(folder, environment=environment) as child:
            yield child

    def values(self, row: Row) -> tuple[list[Any], str]:
        return [measured(read_run(self.folder), row)], ""

    def ended(self) -> str | None:
        return read_run(self.folder).manifest.get("ended")


@dataclasses.dataclass(frozen=True)
class BatchJob(Job):
    """A sweep or an investigation."""

    batch: Batch

    @property
    def named(self) -> str:
        return f"the {self.about}"

    @property
    def alone(self) -> bool:
        return self.batch.alone

    @property
    def has_finished(self) -> bool:
        with contextlib.suppress(FedlabError):  # damaged: its command writes the file again, or says what to do
            return registry.batch_result(self.folder) is not None
        return False

    @property
    def is_due(self) -> bool:
        result = registry.batch_result(self.folder) if self.has_finished else None
        return result is None or not (result.runs or result.figures)  # without a figure, failed runs are repeated

    @contextlib.contextmanager
    def running(self, environment: Environment = None) -> Any:
        make_folder(self.folder)
        with verb_running([*self.batch.words, *self.batch.placing], self.log, environment=environment) as child:
            yield child

    def failure(self, code: int) -> str | None:
        return None if self.has_finished else super().failure(code)

    def values(self, row: Row) -> tuple[list[Any], str]:
        result = registry.batch_result(self.folder)
        if result is None:
            raise FedlabError(f"the {self.batch.kind} has not finished.")
        if row.metric in result.figures:
            return [result.figures[row.metric]], result.remark
        if not result.runs:
            raise FedlabError(f"the {self.batch.kind} has no figure: {result.remark}")
        return [measured(read_run(run), row, result.figures) for run in result.runs], result.remark

    def ended(self) -> str | None:
        result = registry.batch_result(self.folder)
        times = [read_run(run).manifest.get("ended") for run in (result.runs if result else ())]
        return max(filter(None, times), default=None)


@dataclasses.dataclass(frozen=True)
class VerbJob(Job):
    """A verb of fedlab that computes figures, prints them with --json, and trains nothing."""

    words: tuple[str, ...]  # after `fedlab`

    doing = "computing"
    trains = False

    @property
    def label(self) -> str:
        return f"fedlab {self.name}"

    @property
    def named(self) -> str:
        return self.label

    @property
    def result(self) -> pathlib.Path:
        """Returns the file with its figures."""
        return self.folder / "result.json"

    @property
    def has_finished(self) -> bool:
        return self.result.is_file()

    @contextlib.contextmanager
    def running(self, environment: Environment = None) -> Any:
        make_folder(self.folder)
        self.log.unlink(missing_ok=True)
        printed = self.folder / "printed.txt"
        alone = {name: value for name, value in os.environ.items() if name != "HYDRA_FULL_ERROR"}  # errors are one line
        with verb_running([*self.words, "--json"], self.log, printed, {**alone, **(environment or {})}) as child:
            yield child
        if child.returncode == 0:
            with contextlib.suppress(ValueError):
                figures = parsed_json(printed.read_text())
                write_json(self.result, {"command": self.command, "ended": manifest.now(), "figures": figures})
        printed.unlink(missing_ok=True)

    def failure(self, code: int) -> str | None:
        return super().failure(code) or (None if self.has_finished else "it printed no JSON")

    def values(self, row: Row) -> tuple[list[Any], str]:
        figures = self._read()["figures"]
        known = {k: v for k, v in figures.items() if v is not None} if isinstance(figures, dict) else {}
        if row.metric not in known:
            raise FedlabError(f"the verb computes no {row.metric}.{did_you_mean(row.metric, known)}")
        value = known[row.metric]
        return [float(value) if isinstance(value, int) and not isinstance(value, bool) else value], ""

    def ended(self) -> str | None:
        return self._read().get("ended")

    def _read(self) -> dict[str, Any]:
        try:
            return parsed_json(self.result.read_text())
        except (OSError, ValueError) as error:
            raise FedlabError(f"{self.result} is damaged ({error}): remove it.") from error
