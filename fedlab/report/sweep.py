"""A sweep read back from its folder: sweep.json, and the runs below it."""

from __future__ import annotations

import dataclasses
import json
import math
import pathlib
from collections.abc import Sequence
from typing import Any

from fedlab.archive import Run, read_run
from fedlab.errors import FedlabError

FILE = "sweep.json"
VERSION = 1


@dataclasses.dataclass(frozen=True)
class Job:
    """One run of a sweep. `objective`: a value per metric, () where it has none; `failure`: why it failed, in one line."""

    number: int
    folder: pathlib.Path
    parameters: dict[str, Any]
    status: str
    objective: tuple[float, ...]
    seconds: float | None
    failure: str | None

    def run(self) -> Run | None:
        """The run in its folder; None where it left none that can be read."""
        try:
            return read_run(self.folder)
        except FedlabError:
            return None


@dataclasses.dataclass(frozen=True)
class Sweep:
    """What was searched for, among what, and what was found."""

    path: pathlib.Path
    name: str
    command: str
    status: str
    metrics: tuple[str, ...]
    maximize: tuple[bool, ...]  # per metric
    parameters: tuple[str, ...]  # dotted keys
    jobs: tuple[Job, ...]
    best: tuple[int, ...]  # numbers of jobs; several where no one of them is best in all metrics
    best_command: str | None

    @property
    def ranked(self) -> list[Job]:
        """The jobs that have an objective, the best by its first metric in front."""
        return sorted((j for j in self.jobs if j.objective), key=lambda j: j.objective[0], reverse=self.maximize[0])

    def front(self) -> list[Job]:
        """The jobs that no other beats in one metric without losing in another, in the order of the first metric."""
        scored = [(job, [v if up else -v for v, up in zip(job.objective, self.maximize)]) for job in self.jobs if job.objective]
        kept = [job for job, mine in scored if not any(_dominates(other, mine) for _, other in scored)]
        return sorted(kept, key=lambda job: job.objective)


def is_sweep(path: pathlib.Path) -> bool:
    return (path / FILE).is_file()


def read_sweep(path: pathlib.Path) -> Sweep:
    """Raises `FedlabError` where sweep.json cannot be read or is of another version."""
    file = path / FILE
    try:
        content = json.loads(file.read_text())
        if content["sweep_version"] != VERSION:
            raise FedlabError(f"{file} is of version {content['sweep_version']}; this fedlab reads version {VERSION}.")
        objective = content["objective"]
        metrics, directions = tuple(objective["metrics"]), tuple(objective["directions"])
        jobs = tuple(_job(path, job, len(metrics)) for job in content["jobs"])
        sweep = Sweep(
            path=path,
            name=content["name"],
            command=content["command"],
            status=content["status"],
            metrics=metrics,
            maximize=tuple(direction == "maximize" for direction in directions),
            parameters=tuple(content["parameters"]),
            jobs=jobs,
            best=tuple(content.get("best") or ()),
            best_command=content.get("best_command"),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise FedlabError(f"{file} is damaged: {reason}.") from error
    if not metrics or len(metrics) != len(directions):
        raise FedlabError(f"{file} is damaged: it names {len(metrics)} metrics and {len(directions)} directions.")
    return sweep


def _job(path: pathlib.Path, job: dict[str, Any], num_metrics: int) -> Job:
    values = job.get("objective") or ()
    known = len(values) == num_metrics and all(isinstance(v, (int, float)) and math.isfinite(v) for v in values)
    return Job(
        number=job["number"],
        folder=path / job["folder"],
        parameters=dict(job["parameters"]),
        status=job["status"],
        objective=tuple(map(float, values)) if known else (),
        seconds=job.get("seconds"),
        failure=job.get("failure"),
    )


def _dominates(a: Sequence[float], b: Sequence[float]) -> bool:
    return all(x >= y for x, y in zip(a, b)) and any(x > y for x, y in zip(a, b))
