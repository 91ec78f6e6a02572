"""`fedlab train -m …`: runs a sweep and prints its lines and its table."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from omegaconf import DictConfig
from rich.console import Console

from fedlab.studies.sweep.plan import Lines, composed, may_be_a_sweep, nowhere, plan


def train(argv: Sequence[str], args: argparse.Namespace, single: DictConfig | Exception | None) -> int | None:
    """Runs the sweep that the words of `fedlab train` ask for; returns None if they ask for a single run.

    `single`: the configuration of that single run, the error from composing it, or None. Returns 0 if all jobs have finished.
    Raises `ConfigError` for a mistake in the sweep as a whole.
    """
    config = composed(argv, args) if may_be_a_sweep(args, single) else None
    if config is None:
        return None
    from fedlab.studies.sweep.running import run_jobs
    from fedlab.studies.sweep.table import print_table

    printing = (nowhere if args.quiet else _print, _complain)
    sweep = run_jobs(plan(config, args, argv, Lines(*printing, elsewhere=printing)), config, argv)
    if sweep.jobs and not args.quiet:
        print_table(Console(), sweep)
    if sweep.status == "finished":
        return 0
    how = "has failed" if sweep.status == "failed" else "was interrupted"
    _complain(f"fedlab train: the sweep {how}: the same command continues it and repeats jobs that have not finished.")
    return 1


def _print(line: str) -> None:
    print(line, flush=True)


def _complain(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
