"""The table that `fedlab train` prints at the end of a sweep."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Column, Table

from fedlab.archive.claims import together
from fedlab.report import words
from fedlab.studies.sweep.names import short_names, shown_value
from fedlab.studies.sweep.results import Group, Job, Sweep
from fedlab.targets import cost_in

_SEEDS = "Jobs that differ in their seed alone are one row: mean ± standard deviation; without one where a job of them failed."


def print_table(console: Console, sweep: Sweep) -> None:
    """Prints a row per group of jobs that differ in their seed alone, the best in bold; ranked if a group has several jobs.

    Below, it prints the total privacy cost of all jobs, and the command that repeats the best job.
    """
    jobs = {job.number: job for job in sweep.jobs}
    lines = [_SEEDS] if sweep.repeated else []
    lines += filter(None, [together([run for job in sweep.jobs if (run := job.run())])])
    lines += [f"best: {_command(group, jobs)}" for group in sweep.settings if group.number in sweep.best]
    console.print(_table(sweep, jobs))
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True, markup=False)


def _table(sweep: Sweep, jobs: dict[int, Job]) -> Table:
    parameters = [name for name in sweep.parameters if any(name in group.parameters for group in sweep.settings)]
    short = short_names(parameters)
    names = [Column(short[name], overflow="fold") for name in parameters]
    metrics = map(sweep.label, sweep.metrics)
    table = Table("jobs" if sweep.repeated else "job", *names, *metrics, "status", Column("time", no_wrap=True))
    for group in sweep.ranked_settings if sweep.repeated else sweep.settings:
        members = [jobs[number] for number in group.jobs]
        results = zip(sweep.metrics, group.objective, group.deviation or [None] * len(sweep.metrics))
        row = [", ".join(map(str, group.jobs)), *(shown_value(group.parameters.get(name, "")) for name in parameters)]
        row += [sweep.shown(*each) for each in results] or [_missing(metric, members) for metric in sweep.metrics]
        row += [", ".join(dict.fromkeys(job.status for job in members)), words.seconds(sum(job.seconds or 0 for job in members))]
        table.add_row(*row, style="bold" if group.number in sweep.best else None)
    return table


def _missing(metric: str, members: Sequence[Job]) -> str:
    return words.NOT_REACHED if cost_in(metric) and any(job.is_unranked for job in members) else ""


def _command(group: Group, jobs: dict[int, Job]) -> str:
    """Returns the command of a group's first job, with the seeds of the others."""
    others = [jobs[number].parameters.get("seed") for number in group.jobs[1:]]
    also = f"  (the mean also counts seed={', '.join(map(str, others))})" if others else ""
    return f"{jobs[group.number].command}{also}"
