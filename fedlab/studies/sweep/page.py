"""report.html of a sweep: the best configuration first, then pictures of the search, then all jobs."""

from __future__ import annotations

import os
import pathlib
import urllib.parse
from typing import Any

from fedlab.archive import RunFolder
from fedlab.archive.claims import together
from fedlab.report.page import Page
from fedlab.report.section import Section, render, section
from fedlab.studies.sweep import plots as sweep_plots
from fedlab.studies.sweep.results import Job, Sweep, is_sweep, read_sweep


def write_sweep_report(path: pathlib.Path, output: pathlib.Path | None = None) -> pathlib.Path:
    """Writes the page of the sweep in `path`, to report.html there or to `output`; returns the path.

    Raises `FedlabError` if sweep.json is damaged or the file cannot be written.
    """
    sweep = read_sweep(path)
    target = output or path / "report.html"
    sections = (
        _best(sweep),
        _ranking(sweep),
        _pictures(sweep),
        _curves(sweep),
        _jobs(sweep, target),
        _unreached(sweep),
        _failures(sweep),
    )
    return Page("sweep", sweep.name, _lead(sweep), tuple(s for s in sections if s)).write(target)


def write(path: pathlib.Path, output: pathlib.Path | None) -> tuple[pathlib.Path, list[pathlib.Path]] | None:
    """Writes the page; returns its path and the folders of the jobs, or None if `path` is not a sweep."""
    if not is_sweep(path):
        return None
    return write_sweep_report(path, output), [job.folder for job in read_sweep(path).jobs]


def _lead(sweep: Sweep) -> Any:
    states: dict[str, int] = {}
    for job in sweep.jobs:
        states[job.status] = states.get(job.status, 0) + 1
    goals = [f"{'highest' if up else 'lowest'} {sweep.label(metric)}" for metric, up in zip(sweep.metrics, sweep.maximize)]
    seconds = sum(job.seconds or 0 for job in sweep.jobs)
    total = together([run for job in sweep.jobs if (run := job.run())])
    return render("sweep/lead.html", sweep=sweep, states=states, goals=goals, seconds=seconds, total=total)


def _best(sweep: Sweep) -> Section:
    chosen = [group for group in sweep.settings if group.number in sweep.best]
    title = "Best configuration" if len(chosen) < 2 else "Best configurations"
    return section("best", title, "sweep/best.html", sweep=sweep, groups=chosen)


def _ranking(sweep: Sweep) -> Section | None:
    """Returns the section on each configuration over its seeds; None if none has several seeds."""
    if not sweep.repeated:
        return None
    parameters = [name for name in sweep.parameters if any(name in group.parameters for group in sweep.settings)]
    names = [(name, sweep_plots.short(name)) for name in parameters]
    return section("ranking", "Ranking", "sweep/ranking.html", sweep=sweep, names=names)


def _pictures(sweep: Sweep) -> Section | None:
    trade_off, parallel, effects = sweep_plots.trade_off(sweep), sweep_plots.parallel(sweep), sweep_plots.effects(sweep)
    if not (trade_off or parallel or effects):
        return None
    objective = sweep.label(sweep.metrics[0])
    return section(
        "parameters",
        "What led to it",
        "sweep/pictures.html",
        trade_off=trade_off,
        parallel=parallel,
        effects=effects,
        objective=objective,
    )


def _curves(sweep: Sweep) -> Section | None:
    plots = sweep_plots.curves(sweep)
    return section("curves", "Learning curves of all jobs", "sweep/curves.html", plots=plots) if plots else None


def _jobs(sweep: Sweep, page: pathlib.Path) -> Section:
    rows = [(job, _link(job, page)) for job in sweep.jobs]
    names = [(name, sweep_plots.short(name)) for name in sweep.parameters]
    return section("jobs", "Jobs", "sweep/jobs.html", sweep=sweep, rows=rows, names=names)


def _failures(sweep: Sweep) -> Section | None:
    failed = [job for job in sweep.jobs if job.failure and not job.is_unranked]
    return section("failures", "Failures", "sweep/failures.html", jobs=failed, heading="why it failed") if failed else None


def _unreached(sweep: Sweep) -> Section | None:
    jobs = [job for job in sweep.jobs if job.is_unranked]
    return section("unreached", "Target not reached", "sweep/failures.html", jobs=jobs, heading="result") if jobs else None


def _link(job: Job, page: pathlib.Path) -> str | None:
    """Returns the link from `page` to the job's own report."""
    report = RunFolder(job.folder).report
    if not report.is_file():
        return None
    return urllib.parse.quote(os.path.relpath(report.resolve(), page.resolve().parent))
