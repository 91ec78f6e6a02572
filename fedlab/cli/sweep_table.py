"""sweep.json, gathered from the folders of the jobs, and the table at the end of a sweep."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.table import Column, Table

from fedlab.archive import Run, read_run
from fedlab.archive.folder import write_json
from fedlab.archive.sweep import VERSION, JobFolder, JobRecord, SweepFolder
from fedlab.cli.sweep_plan import Plan, last_word
from fedlab.errors import FedlabError
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
    best = [jobs[i] for i in plan.objective.best([job["objective"] for job in jobs])]
    return {
        "sweep_version": VERSION,
        "name": plan.name,
        "command": plan.command,
        "status": status,
        "objective": {"metrics": list(plan.objective.metric), "directions": list(plan.objective.direction)},
        "parameters": list(dict.fromkeys(name for job in jobs for name in job["parameters"])),
        "jobs": jobs,
        "best": [job["number"] for job in best],
        "best_command": best[0]["command"] if best else None,
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
    """A row per job, the best in bold; what all jobs, in folders below `path`, cost of privacy; what runs the best again."""
    parameters, metrics = table["parameters"], table["objective"]["metrics"]
    short = short_names(parameters)
    shown = Table("job", *(Column(short[name], overflow="fold") for name in parameters), *metrics, "status", "seconds")
    for job in table["jobs"]:
        values = [shown_value(job["parameters"].get(name, "")) for name in parameters]
        figures = [f"{value:.6g}" for value in job["objective"] or []] or [""] * len(metrics)
        style = "bold" if job["number"] in table["best"] else None
        shown.add_row(str(job["number"]), *values, *figures, job["status"], f"{job['seconds']:.0f}", style=style)
    console.print(shown)
    if total := together(_runs(path, table)):
        console.print(total, highlight=False, soft_wrap=True, markup=False)
    for job in table["jobs"]:
        if job["number"] in table["best"]:
            console.print(f"best: {job['command']}", highlight=False, soft_wrap=True, markup=False)


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
