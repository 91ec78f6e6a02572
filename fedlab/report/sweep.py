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
class Group:
    """Jobs that differ in their seed alone. `objective`: means, () where a job has none; `deviation`: () of a single job."""

    jobs: tuple[int, ...]  # their numbers
    parameters: dict[str, Any]
    objective: tuple[float, ...]
    deviation: tuple[float, ...] = ()

    @property
    def number(self) -> int:
        """Of its first job."""
        return self.jobs[0]

    def result(self, i: int) -> tuple[float | None, float | None]:
        """Mean and standard deviation of metric number `i`."""
        return self.objective[i] if self.objective else None, self.deviation[i] if self.deviation else None


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
    groups: tuple[Group, ...] = ()  # () in a sweep of an older fedlab

    @property
    def settings(self) -> tuple[Group, ...]:
        """Groups of jobs that differ in their seed alone."""
        return self.groups or tuple(Group((job.number,), job.parameters, job.objective) for job in self.jobs)

    @property
    def repeated(self) -> bool:
        """Whether there are jobs that differ in their seed alone."""
        return any(len(group.jobs) > 1 for group in self.settings)

    @property
    def ranked_settings(self) -> list[Group]:
        """The groups, the best by its first metric in front; those without an objective last."""
        sign = -1 if self.maximize[0] else 1
        return sorted(self.settings, key=lambda g: (not g.objective, sign * g.objective[0] if g.objective else 0))

    @property
    def ranked(self) -> list[Job]:
        """The jobs that have an objective, the best by its first metric in front."""
        return sorted((j for j in self.jobs if j.objective), key=lambda j: j.objective[0], reverse=self.maximize[0])

    def front(self) -> list[Group]:
        """The groups that no other beats in one metric without losing in another, in the order of the first metric."""
        scored = [(g, [v if up else -v for v, up in zip(g.objective, self.maximize)]) for g in self.settings if g.objective]
        kept = [group for group, mine in scored if not any(_dominates(other, mine) for _, other in scored)]
        return sorted(kept, key=lambda group: group.objective)


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
            groups=tuple(_group(group) for group in content.get("groups") or ()),
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


def _group(group: dict[str, Any]) -> Group:
    means, deviations = group["objective"] or (), group["deviation"] or ()
    return Group(tuple(group["jobs"]), dict(group["parameters"]), tuple(map(float, means)), tuple(map(float, deviations)))


def _dominates(a: Sequence[float], b: Sequence[float]) -> bool:
    return all(x >= y for x, y in zip(a, b)) and any(x > y for x, y in zip(a, b))
