"""Leads a sweep: runs its jobs in sequence or in parallel, each in a process of its own. Prints nothing.

The same sweep in the same folder continues after an interruption.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig

from fedlab.archive.folder import relative
from fedlab.archive.lock import RunLock
from fedlab.config import application
from fedlab.errors import ConfigError, one_line
from fedlab.stopping import STOPS
from fedlab.studies.sweep import plan as sweep_plan
from fedlab.studies.sweep.folder import SweepFolder
from fedlab.studies.sweep.gather import write_table
from fedlab.studies.sweep.jobs import run_job
from fedlab.studies.sweep.plan import SweepPlan
from fedlab.studies.sweep.results import Sweep, read_sweep
from fedlab.studies.sweep.stop import Stopping


def run_jobs(plan: SweepPlan, config: DictConfig, argv: Sequence[str]) -> Sweep:
    """Runs the jobs that have not finished yet; returns the sweep with its results.

    `config`: the result of `plan.composed` for `argv`. Raises `ConfigError` before the first job for a mistake in the sweep as a
    whole. A failed job is reported in a line and in the results.
    """
    folder = SweepFolder(plan.folder)
    with folder.made(), RunLock(folder.lock), Stopping(folder, plan.lines.problem):
        known = folder.jobs()
        _settle(folder)
        plan.lines.progress(f"sweep folder: {relative(folder.path)}" + (f", {plan.total} jobs" if plan.total else ""))
        try:
            if sweep_plan.uses_optuna(config):
                plan = dataclasses.replace(plan, first_number=max((record.number for _, record in known), default=0) + 1)
                _search(plan, config, folder, argv)
            else:
                _launch(plan, argv, [])
        except STOPS:
            _settle(folder)
            write_table(plan, folder, "interrupted")
            plan.lines.progress(f"to go on: {plan.command}")
            raise
        _settle(folder)
        write_table(plan, folder, "finished")
        _report(plan)
        return read_sweep(folder.path)


def _report(plan: SweepPlan) -> None:
    """Writes the page of the sweep. A failure is reported in a line and does not end the sweep."""
    from fedlab.studies.sweep.page import write_sweep_report

    try:
        write_sweep_report(plan.folder)
    except Exception as error:
        plan.lines.problem(f"fedlab train: the report of the sweep could not be written: {one_line(error)}")


def _launch(plan: SweepPlan, argv: Sequence[str], overrides: Sequence[str]) -> None:
    """Runs the jobs with Hydra's launcher."""

    def task(config: DictConfig) -> Any:  # a nested function is pickled by value, with the plan
        return run_job(plan, config)

    application.run(task, [*argv, *sweep_plan.overrides_for_hydra(plan), *overrides], "hydra.sweep.dir", sweeps=True)


def _search(plan: SweepPlan, config: DictConfig, folder: SweepFolder, argv: Sequence[str]) -> None:
    """Runs the jobs that Optuna chooses."""
    from fedlab.studies.sweep import optuna_study  # imports Optuna

    left, overrides = optuna_study.prepare(plan, config, folder)
    if not left:
        return
    try:
        _launch(plan, argv, overrides)
    except ConfigError:
        if not optuna_study.has_failed(config, folder):
            raise


def _settle(folder: SweepFolder) -> None:
    """Marks jobs that still have the status running as interrupted, because no process leads the sweep."""
    for job, record in folder.jobs():
        if record.status == "running":
            job.write(dataclasses.replace(record, status="interrupted"))
