"""`fedlab.sweep` and `fedlab.open_sweep`: sweeps for scripts and notebooks. Nothing here prints, or ends the process."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Callable
from typing import Any

from fedlab import trust as trusting
from fedlab.config import application, experiment_files
from fedlab.config import composing as configuration
from fedlab.errors import ConfigError, FedlabError
from fedlab.library import SavedRun, chosen, open_run, override, quoted
from fedlab.studies.sweep.plan import Lines, composed, nowhere, plan
from fedlab.studies.sweep.results import Job, Sweep, read_sweep

_FOLDERS = ("hydra.sweep.", "hydra.run.", "hydra.mode", "hydra.job.")


@dataclasses.dataclass(frozen=True)
class SweepJob:
    """One job of a sweep.

    `overrides`: the options in which jobs differ, by dotted key. `status`: running, finished, interrupted or failed.
    `objective`: the values that rank jobs, by metric; {} without an objective. `summary`: the final metrics; {} unless the
    job has finished. `failure`: the reason in one line. `command`: trains this job alone.
    """

    number: int
    folder: pathlib.Path
    overrides: dict[str, Any]
    status: str
    objective: dict[str, float]
    summary: dict[str, Any] = dataclasses.field(repr=False)
    failure: str | None
    command: str = dataclasses.field(repr=False)

    def run(self) -> SavedRun:
        """Returns its run, as `fedlab.open_run` does. Raises `FedlabError` if there is none, or it is damaged."""
        return open_run(self.folder)


@dataclasses.dataclass(frozen=True)
class SavedSweep:
    """A sweep in its folder, at the time of opening.

    `status`: running, finished, interrupted or failed. `jobs`: in the order of their numbers. `best`: the best job, or
    all jobs of the best setting if jobs differ in their seed alone; with several metrics, all jobs on the Pareto front; () if no
    job has an objective. `command`: the same sweep on the command line.
    """

    folder: pathlib.Path
    name: str
    status: str
    jobs: tuple[SweepJob, ...]
    best: tuple[SweepJob, ...]
    command: str

    def __repr__(self) -> str:
        return f"<sweep {self.name}, {self.status}, {len(self.jobs):,} jobs, in {self.folder}>"


def sweep(
    experiment: str = "",
    *overrides: str,
    folder: str | os.PathLike[str] | None = None,
    on_line: Callable[[str], None] | None = None,
    config_dir: str | os.PathLike[str] | None = None,
    trust: bool = False,
) -> SavedSweep:
    """Trains a run per combination of values, as `fedlab train -m` does, each in a process of its own; returns all.

    `experiment`, `config_dir`, `trust`: as of `fedlab.run`. `overrides`: "client_optimizer.learning_rate=0.1,0.3",
    "objective.metric=test_loss", "hydra/sweeper=optuna", …, as on the command line. `folder`: the folder of the runs, by default
    multirun/EXPERIMENT/HASH, the same for equal overrides. The same sweep in the same folder continues: finished jobs are not
    trained again. `on_line`: called with a line when a job begins and ends; a launcher that runs jobs in other processes, such
    as hydra/launcher=joblib, does not call it.

    A job that fails raises nothing; its `status` and `failure` report it. Raises `ConfigError` before the first job for a
    mistake in the sweep as a whole, `FedlabError` if the folder cannot be written or another process runs the same sweep.
    """
    own = ["-cd", os.fspath(config_dir)] if config_dir is not None else []
    words = [*own, "-m", *chosen(experiment), *map(_override, overrides)]
    if folder is not None:
        words.append(f"hydra.sweep.dir={quoted(os.fspath(pathlib.Path(folder).expanduser()))}")
    args = application.parsed(words)
    with trusting.session(everything=True) if trust else contextlib.nullcontext():
        experiment_files.check(args.overrides, configuration.folders(args.config_dir))
        config = composed(words, args)
        assert config is not None  # because of -m
        from fedlab.studies.sweep.running import run_jobs

        say = on_line or nowhere
        return _saved(run_jobs(plan(config, args, words, Lines(say, say)), config, words))


def open_sweep(path: str | os.PathLike[str]) -> SavedSweep:
    """Opens the sweep in the folder `path`, finished or not, from Python or from `fedlab train -m`. Imports no TensorFlow.

    Raises `FedlabError` if there is none, or it is damaged.
    """
    return _saved(read_sweep(pathlib.Path(path).expanduser()))


def _saved(found: Sweep) -> SavedSweep:
    jobs = tuple(_job(job, found.metrics) for job in found.jobs)
    best = tuple(job for job in jobs if job.number in found.best)
    return SavedSweep(found.path, found.name, found.status, jobs, best, found.command)


def _job(job: Job, metrics: tuple[str, ...]) -> SweepJob:
    summary: dict[str, Any] = {}
    if job.status == "finished":
        with contextlib.suppress(FedlabError):  # a damaged run: its page and `open_run` report it
            summary = open_run(job.folder).summary
    objective = dict(zip(metrics, job.objective))
    return SweepJob(job.number, job.folder, job.parameters, job.status, objective, summary, job.failure, job.command)


def _override(word: str) -> str:
    """Checks and returns an override of a sweep, which may also be an option of Hydra's sweeper or launcher."""
    if isinstance(word, str) and word.lstrip("+~").startswith(_FOLDERS):
        raise ConfigError(f"'{word}' is an option of the command line: fedlab.sweep takes folder=… for the folder of the sweep.")
    return word if isinstance(word, str) and word.lstrip("+~").startswith(("hydra.", "hydra/")) else override(word)
