"""`fedlab train -m …`: many runs, each in a process of its own. The same command again goes on where it was stopped."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig
from rich.console import Console

from fedlab.archive.folder import relative
from fedlab.archive.lock import RunLock
from fedlab.archive.sweep import SweepFolder
from fedlab.cli import application, sweep_plan
from fedlab.cli.job import say
from fedlab.cli.sweep_job import run_job
from fedlab.cli.sweep_plan import Plan
from fedlab.cli.sweep_stop import Stopping
from fedlab.cli.sweep_table import print_table, write_table
from fedlab.errors import ConfigError, one_line


def sweep(config: DictConfig, args: argparse.Namespace, argv: Sequence[str], console: Console) -> int:
    """Runs the jobs that have not finished yet; returns 0 if all have then. `config`: as `sweep_plan.composed` gives it.

    Raises `ConfigError` before the first job for what is wrong with the sweep as a whole; a job that fails is told of in a line.
    """
    plan = sweep_plan.plan(config, args, argv, console.quiet)
    folder = SweepFolder(plan.folder)
    folder.make()
    with RunLock(folder.lock), Stopping(folder):
        known = folder.jobs()
        _settle(folder)
        say(console, f"sweep folder: {relative(folder.path)}" + (f", {plan.total} jobs" if plan.total else ""))
        try:
            if sweep_plan.uses_optuna(config):
                plan = dataclasses.replace(plan, first_number=max((record.number for _, record in known), default=0) + 1)
                _search(plan, config, folder, argv)
            else:
                _launch(plan, argv, [])
        except (KeyboardInterrupt, SystemExit):
            _settle(folder)
            write_table(plan, folder, "interrupted")
            say(console, f"to go on: {plan.command}")
            raise
        _settle(folder)
        table = write_table(plan, folder, "finished")
        _report(folder)
    if not console.quiet and table["jobs"]:
        print_table(console, table, folder.path)
    if table["status"] == "finished":
        return 0
    how = "has failed" if table["status"] == "failed" else "was interrupted"
    print(f"fedlab train: the sweep {how}: the same command goes on, and tries again what did not finish.", file=sys.stderr)
    return 1


def _report(folder: SweepFolder) -> None:
    """Writes the page of the sweep; one that cannot be written costs a line, and never the sweep."""
    from fedlab.report.sweep_page import write_sweep_report

    try:
        write_sweep_report(folder.path)
    except Exception as error:
        print(f"fedlab train: the report of the sweep could not be written: {one_line(error)}", file=sys.stderr)


def _launch(plan: Plan, argv: Sequence[str], overrides: Sequence[str]) -> None:
    """Hands the jobs to Hydra's launcher."""

    def task(config: DictConfig) -> Any:  # a function within one, which travels by value: it carries the plan along
        return run_job(plan, config)

    application.run(task, [*argv, *sweep_plan.overrides_for_hydra(plan), *overrides], "hydra.sweep.dir")


def _search(plan: Plan, config: DictConfig, folder: SweepFolder, argv: Sequence[str]) -> None:
    """Has Optuna choose the jobs."""
    from fedlab.cli import sweep_study  # imports Optuna

    left, overrides = sweep_study.prepare(plan, config, folder)
    if not left:
        return
    try:
        _launch(plan, argv, overrides)
    except ConfigError:
        if not sweep_study.has_failed(config, folder):
            raise


def _settle(folder: SweepFolder) -> None:
    """Jobs that still say they run, when nobody leads the sweep any more, were interrupted."""
    for job, record in folder.jobs():
        if record.status == "running":
            job.write(dataclasses.replace(record, status="interrupted"))
