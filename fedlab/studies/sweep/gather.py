"""sweep.json, gathered from the folders of the jobs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fedlab.archive import Run, read_run
from fedlab.archive.figures import best_so_far, cost_to
from fedlab.archive.folder import write_json
from fedlab.archive.task import CLASSIFICATION
from fedlab.errors import FedlabError
from fedlab.run.child import JobFolder, JobRecord
from fedlab.studies.sweep import plan as sweep_plan
from fedlab.studies.sweep import ranking
from fedlab.studies.sweep.folder import SweepFolder
from fedlab.studies.sweep.goal import Goal, goal_of
from fedlab.studies.sweep.plan import SweepPlan
from fedlab.studies.sweep.results import VERSION
from fedlab.targets import NotReached


def write_table(plan: SweepPlan, folder: SweepFolder, status: str = "running") -> dict[str, Any]:
    """Writes sweep.json and returns its content. `status`: "finished" is kept only if all jobs of the command have finished."""
    with folder.writing():
        table = gathered(plan, folder, status)
        write_json(folder.table, table)
    return table


def gathered(plan: SweepPlan, folder: SweepFolder, status: str) -> dict[str, Any]:
    """Returns the content of sweep.json, see `fedlab.studies.sweep.results`."""
    records = folder.jobs()
    jobs = [_row(plan, folder, *job) for job in records]
    if status == "finished":
        ends = {job["status"] for job, (_, record) in zip(jobs, records) if record.invocation == plan.invocation}
        status = next((s for s in ("failed", "interrupted") if s in ends), "finished")
    taken: set[int] = set()
    for job in jobs:  # the folder may contain the jobs of several commands
        job["number"] = job["number"] if job["number"] not in taken else max(taken) + 1
        taken.add(job["number"])
    groups = _groups(plan, jobs, [record for _, record in records])
    goal = goal_in(plan)
    best = [groups[i] for i in ranking.best([group["objective"] for group in groups], goal.maximize)]
    first = next((job for job in jobs if best and job["number"] == best[0]["jobs"][0]), None)
    return {
        "sweep_version": VERSION,
        "name": plan.name,
        "command": plan.command,
        "status": status,
        "objective": {"metrics": list(goal.metrics), "directions": list(goal.directions)},
        "parameters": list(dict.fromkeys(name for job in jobs for name in job["parameters"])),
        "jobs": jobs,
        "groups": groups,
        "best": sorted(number for group in best for number in group["jobs"]),
        "best_command": first["command"] if first else None,
    }


def goal_in(plan: SweepPlan) -> Goal:
    """Returns the goal of the sweep, the same for all of its jobs: with the task of the first that has begun to train."""
    return goal_of(plan.objective, SweepFolder(plan.folder).task() or CLASSIFICATION)


def objective_of(plan: SweepPlan, run: Run) -> list[float]:
    """Returns the objective of a finished run. Raises `FedlabError` if it has none, `NotReached` if a target was not reached."""
    goal = goal_in(plan)
    reached = {name: cost_to(run, cost, target) for name, (cost, target) in goal.costs.items()}
    return goal.values({**run.summary, **reached, **({"best_so_far": best_so_far(run)} if reached else {})})


def _groups(plan: SweepPlan, jobs: Sequence[dict[str, Any]], records: Sequence[JobRecord]) -> list[dict[str, Any]]:
    """Groups jobs that differ in their seed alone, in the order of each group's first job."""
    members: dict[str, list[dict[str, Any]]] = {}
    for job, record in zip(jobs, records):
        members.setdefault(sweep_plan.but_for_the_seed(record.config), []).append(job)
    return [_group(plan, group) for group in members.values()]


def _group(plan: SweepPlan, jobs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    mean, deviation = plan.objective.over_seeds([job["objective"] for job in jobs])
    several = len(jobs) > 1
    return {
        "jobs": [job["number"] for job in jobs],
        "parameters": {key: value for key, value in jobs[0]["parameters"].items() if not (several and key == "seed")},
        "objective": mean,
        "deviation": deviation,
    }


def _row(plan: SweepPlan, sweep: SweepFolder, folder: JobFolder, record: JobRecord) -> dict[str, Any]:
    status, failure, objective, seconds = record.status, record.failure, None, record.seconds
    if status == "finished":
        try:
            run = read_run(folder.path)
            seconds = run.summary.get("seconds_total", seconds)  # as in `fedlab runs`: without the start of the process
            objective = objective_of(plan, run)
            failure = None
        except NotReached as error:  # the run is as good as it is, and has no rank
            failure = str(error)
        except FedlabError as error:
            status, failure = "failed", str(error)
    return {
        "number": record.number,
        "folder": str(folder.path.relative_to(sweep.path)),
        "parameters": record.parameters,
        "status": status,
        "objective": objective,
        "seconds": seconds,
        "failure": failure,
        "command": record.command,
    }
