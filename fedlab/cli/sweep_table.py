"""sweep.json, gathered from the folders of the jobs, and the table at the end of a sweep."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Column, Table

from fedlab.archive import Run, read_run
from fedlab.archive.folder import write_json
from fedlab.archive.sweep import VERSION, JobFolder, JobRecord, SweepFolder
from fedlab.cli import sweep_plan
from fedlab.cli.sweep_plan import Plan, last_word
from fedlab.errors import FedlabError
from fedlab.report import words
from fedlab.report.composition import together


def write_table(plan: Plan, folder: SweepFolder, status: str = "running") -> dict[str, Any]:
    """Writes sweep.json and returns what is in it. `status`: a sweep `finished` only if all jobs that it wanted have."""
    with folder.writing():
        table = gathered(plan, folder, status)
        write_json(folder.table, table)
    return table


def gathered(plan: Plan, folder: SweepFolder, status: str) -> dict[str, Any]:
    """What sweep.json says, see `fedlab.archive.sweep`."""
    records = folder.jobs()
    jobs = [_row(plan, folder, *job) for job in records]
    if status == "finished":
        ends = {job["status"] for job, (_, record) in zip(jobs, records) if record.invocation == plan.invocation}
        status = next((s for s in ("failed", "interrupted") if s in ends), "finished")
    taken: set[int] = set()
    for job in jobs:  # the folder may hold the jobs of several commands
        job["number"] = job["number"] if job["number"] not in taken else max(taken) + 1
        taken.add(job["number"])
    groups = _groups(plan, jobs, [record for _, record in records])
    best = [groups[i] for i in plan.objective.best([group["objective"] for group in groups])]
    first = next((job for job in jobs if best and job["number"] == best[0]["jobs"][0]), None)
    return {
        "sweep_version": VERSION,
        "name": plan.name,
        "command": plan.command,
        "status": status,
        "objective": {"metrics": list(plan.objective.metric), "directions": list(plan.objective.direction)},
        "parameters": list(dict.fromkeys(name for job in jobs for name in job["parameters"])),
        "jobs": jobs,
        "groups": groups,
        "best": sorted(number for group in best for number in group["jobs"]),
        "best_command": first["command"] if first else None,
    }


def _groups(plan: Plan, jobs: Sequence[dict[str, Any]], records: Sequence[JobRecord]) -> list[dict[str, Any]]:
    """The jobs in groups that differ in their seed alone, in the order of each group's first."""
    members: dict[str, list[dict[str, Any]]] = {}
    for job, record in zip(jobs, records):
        members.setdefault(sweep_plan.but_for_the_seed(record.config), []).append(job)
    return [_group(plan, group) for group in members.values()]


def _group(plan: Plan, jobs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    mean, deviation = plan.objective.over_seeds([job["objective"] for job in jobs])
    several = len(jobs) > 1
    return {
        "jobs": [job["number"] for job in jobs],
        "parameters": {key: value for key, value in jobs[0]["parameters"].items() if not (several and key == "seed")},
        "objective": mean,
        "deviation": deviation,
    }


def _row(plan: Plan, sweep: SweepFolder, folder: JobFolder, record: JobRecord) -> dict[str, Any]:
    status, failure, objective = record.status, record.failure, None
    if status == "finished":
        try:
            objective = plan.objective.values(read_run(folder.path).summary)
            failure = None
        except FedlabError as error:
            status, failure = "failed", str(error)
    return {
        "number": record.number,
        "folder": str(folder.path.relative_to(sweep.path)),
        "parameters": record.parameters,
        "status": status,
        "objective": objective,
        "seconds": record.seconds,
        "failure": failure,
        "command": record.command,
    }


def print_table(console: Console, table: dict[str, Any], path: pathlib.Path) -> None:
    """Prints a row per group of jobs that differ in their seed alone, the best in bold, and ranked where there are such groups.

    Then what all jobs, in folders below `path`, cost of privacy, and what runs the best again.
    """
    metrics, jobs = table["objective"]["metrics"], {job["number"]: job for job in table["jobs"]}
    groups, grouped = table["groups"], any(len(group["jobs"]) > 1 for group in table["groups"])
    parameters = [name for name in table["parameters"] if any(name in group["parameters"] for group in groups)]
    short = short_names(parameters)
    names = [Column(short[name], overflow="fold") for name in parameters]
    shown = Table("jobs" if grouped else "job", *names, *map(words.metric_label, metrics), "status", "seconds")
    for group in _ranked(table) if grouped else groups:
        members = [jobs[number] for number in group["jobs"]]
        values = [shown_value(group["parameters"].get(name, "")) for name in parameters]
        spread = group["deviation"] or [None] * len(metrics)
        results = [words.spread(*each) for each in zip(metrics, group["objective"] or (), spread)] or [""] * len(metrics)
        status = ", ".join(dict.fromkeys(job["status"] for job in members))
        seconds = sum(job["seconds"] for job in members)
        style = "bold" if group["jobs"][0] in table["best"] else None
        shown.add_row(", ".join(map(str, group["jobs"])), *values, *results, status, f"{seconds:.0f}", style=style)
    console.print(shown)
    if grouped:
        note = (
            "Jobs that differ in their seed alone are one row: mean ± standard deviation; without one where a job of them failed."
        )
        console.print(note, highlight=False, soft_wrap=True, markup=False)
    if total := together(_runs(path, table)):
        console.print(total, highlight=False, soft_wrap=True, markup=False)
    for group in groups:
        if group["jobs"][0] in table["best"]:
            command = f"best: {jobs[group['jobs'][0]]['command']}"
            console.print(command + _with_seeds(group, jobs), highlight=False, soft_wrap=True, markup=False)


def _ranked(table: dict[str, Any]) -> list[dict[str, Any]]:
    """The groups, the best by its first metric in front; those without an objective last."""
    sign = -1 if table["objective"]["directions"][0] == "maximize" else 1
    scored = [group for group in table["groups"] if group["objective"]]
    others = [group for group in table["groups"] if not group["objective"]]
    return [*sorted(scored, key=lambda group: sign * group["objective"][0]), *others]


def _with_seeds(group: dict[str, Any], jobs: dict[int, dict[str, Any]]) -> str:
    others = [jobs[number]["parameters"].get("seed") for number in group["jobs"][1:]]
    return f"  (the mean also counts seed={', '.join(map(str, others))})" if others else ""


def figures(metrics: Iterable[str], values: Iterable[float]) -> str:
    """Metrics and their values, for people."""
    return ", ".join(
        f"{words.metric_label(metric)} {words.metric_value(metric, value)}" for metric, value in zip(metrics, values)
    )


def _runs(path: pathlib.Path, table: dict[str, Any]) -> list[Run]:
    """The jobs' runs that can be read."""
    found = []
    for job in table["jobs"]:
        with contextlib.suppress(FedlabError):
            found.append(read_run(path / job["folder"]))
    return found


def short_names(parameters: Iterable[str]) -> dict[str, str]:
    """Each dotted key's last word, or the key itself where others end alike."""
    last = {name: last_word(name) for name in parameters}
    return {name: word if list(last.values()).count(word) == 1 else name for name, word in last.items()}


def shown_value(value: Any) -> str:
    """A parameter's value, for people."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
