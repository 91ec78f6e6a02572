"""sweep.json: the jobs of a sweep, their groups and the best of them. `gather` writes it.

sweep_version   1
name            the experiment, or the data and the process
command         as typed; the same command continues the sweep
status          running, finished, interrupted or failed; a killed one stays `running`, without a lock
objective       {metrics, directions}: metrics of summary.json, and maximize or minimize for each
parameters      the dotted keys in which jobs differ
jobs            {number, folder, parameters, status, objective, seconds, failure, command} each: the relative folder, values of
                parameters, values of the objective or null, the reason of a failure or of a target that was not reached, or
                null, the command that runs it alone
groups          {jobs, parameters, objective, deviation} each: jobs that differ in their seed alone, by number; mean and standard
                deviation of their objectives, null if a job has none; for a single job, the deviation is null
best            numbers of the jobs of the best group; with several metrics, of all groups on the Pareto front
best_command    runs the first of them alone; null without one
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import pathlib
from typing import Any

from fedlab.archive import Run, RunFolder, read_run
from fedlab.archive.folder import relative
from fedlab.archive.task import CLASSIFICATION, Learned, learned_in
from fedlab.errors import FedlabError
from fedlab.fingerprint import parsed_json
from fedlab.report import words
from fedlab.studies.sweep import ranking

FILE = "sweep.json"
VERSION = 1


@dataclasses.dataclass(frozen=True)
class Job:
    """One run of a sweep. `objective`: a value per metric, or (); `failure`: the reason in one line."""

    number: int
    folder: pathlib.Path
    parameters: dict[str, Any]
    status: str
    objective: tuple[float, ...]
    seconds: float | None
    failure: str | None
    command: str = ""  # runs it alone

    @property
    def is_unranked(self) -> bool:
        """Returns True if the job has finished without reaching the target of an objective such as rounds_to[0.97]."""
        return self.status == "finished" and bool(self.failure)

    def run(self) -> Run | None:
        """Returns the run in its folder; None without a readable one."""
        try:
            return read_run(self.folder)
        except FedlabError:
            return None


@dataclasses.dataclass(frozen=True)
class Group:
    """Jobs that differ in their seed alone. `objective`: means, () if a job has none; `deviation`: () for a single job."""

    jobs: tuple[int, ...]  # their numbers
    parameters: dict[str, Any]
    objective: tuple[float, ...]
    deviation: tuple[float, ...] = ()

    @property
    def number(self) -> int:
        """Returns the number of its first job."""
        return self.jobs[0]

    def result(self, i: int) -> tuple[float | None, float | None]:
        """Returns mean and standard deviation of metric number `i`."""
        return self.objective[i] if self.objective else None, self.deviation[i] if self.deviation else None


@dataclasses.dataclass(frozen=True)
class Sweep:
    """A sweep: its objective, its parameters and its results."""

    path: pathlib.Path
    name: str
    command: str
    status: str
    metrics: tuple[str, ...]
    maximize: tuple[bool, ...]  # whether more is better, per metric
    parameters: tuple[str, ...]  # dotted keys
    jobs: tuple[Job, ...]
    best: tuple[int, ...]  # numbers of jobs; with several metrics, those of the Pareto front
    best_command: str | None
    groups: tuple[Group, ...] = ()  # () in a sweep of an older version

    @functools.cached_property
    def task(self) -> Learned:
        """Returns the task of the first job that has begun to train; classification without one."""
        for job in self.jobs:
            with contextlib.suppress(OSError, ValueError):
                return learned_in(RunFolder(job.folder))
        return CLASSIFICATION

    def label(self, metric: str) -> str:
        """Returns the name of a metric in words."""
        return words.task_label(metric, self.task)

    def shown(self, metric: str, mean: float | None, deviation: float | None = None) -> str:
        """Formats a metric's value, or a mean with its standard deviation."""
        if mean is None:
            return words.NONE
        spread = f" ± {words.task_value(metric, deviation, self.task, 2)}" if deviation is not None else ""
        return words.task_value(metric, mean, self.task) + spread

    @property
    def settings(self) -> tuple[Group, ...]:
        """Returns the groups of jobs that differ in their seed alone."""
        return self.groups or tuple(Group((job.number,), job.parameters, job.objective) for job in self.jobs)

    @property
    def repeated(self) -> bool:
        """Returns whether some jobs differ in their seed alone."""
        return any(len(group.jobs) > 1 for group in self.settings)

    @property
    def ranked_settings(self) -> list[Group]:
        """Returns the groups, sorted by the first metric, best first; groups without an objective come last."""
        return [self.settings[i] for i in ranking.order([group.objective for group in self.settings], self.maximize)]

    @property
    def ranked(self) -> list[Job]:
        """Returns the jobs with an objective, sorted by the first metric, best first."""
        scored = [job for job in self.jobs if job.objective]
        return [scored[i] for i in ranking.order([job.objective for job in scored], self.maximize)]

    def front(self) -> list[Group]:
        """Returns the groups on the Pareto front, in the order of the first metric."""
        kept = ranking.best([group.objective for group in self.settings], self.maximize)
        return sorted((self.settings[i] for i in kept), key=lambda group: group.objective)


def is_sweep(path: pathlib.Path) -> bool:
    return (path / FILE).is_file()


def read_sweep(path: pathlib.Path) -> Sweep:
    """Reads sweep.json. Raises `FedlabError` if it is missing, damaged, or of another version."""
    file = path / FILE
    if not is_sweep(path):
        raise FedlabError(f"{relative(path)} is no sweep: it has no {FILE}.")
    try:
        content = parsed_json(file.read_text())
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
        command=job.get("command") or "",
    )


def _group(group: dict[str, Any]) -> Group:
    means, deviations = group["objective"] or (), group["deviation"] or ()
    return Group(tuple(group["jobs"]), dict(group["parameters"]), tuple(map(float, means)), tuple(map(float, deviations)))
