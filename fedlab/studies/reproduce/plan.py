"""A scorecard before its first run: the run of every row and seed, composed and checked. Rows with equal runs share them."""

from __future__ import annotations

import dataclasses
import pathlib
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from fedlab.archive.manifest import WITHOUT_EFFECT
from fedlab.config import composing
from fedlab.errors import ConfigError, did_you_mean
from fedlab.fingerprint import json_fingerprint
from fedlab.library import override
from fedlab.run import locations, rules
from fedlab.studies.reproduce import experiments
from fedlab.studies.reproduce.results import CardFolder
from fedlab.studies.reproduce.scorecard import Row, Scorecard
from fedlab.studies.reproduce.scorecard import read as read_scorecard

_ALSO_DECIDE = ("num_rounds", "stop", "attack")  # change no computed round, but figures


@dataclasses.dataclass(frozen=True)
class Job:
    """One run: its folder, its name, its resolved configuration, and the command that trains it alone."""

    folder: pathlib.Path
    name: str
    seed: int
    config: Mapping[str, Any]
    command: str


@dataclasses.dataclass(frozen=True)
class Plan:
    """A scorecard with the jobs of all its rows. `asked`: the rows that this command runs."""

    name: str
    card: Scorecard
    folder: CardFolder
    jobs: Mapping[str, tuple[Job, ...]]  # row → a job per seed
    asked: tuple[str, ...]
    command: str

    @property
    def todo(self) -> list[Job]:
        """Returns the jobs of the rows that were asked for, each once."""
        return list({job.folder: job for name in self.asked for job in self.jobs[name]}.values())


def plan(
    name: str,
    command: str,
    quick: bool = False,
    rows: Sequence[str] = (),
    root: pathlib.Path | None = None,
    own: str | None = None,
) -> Plan:
    """Plans the scorecard `name`. `rows`: the rows to run, by default those of this size. `root`: the folder, by default
    reproductions/NAME. `own`: a user's configuration folder.

    Raises `ConfigError` for a mistake in any row, also in one that is not asked for.
    """
    card = known(name, own)
    try:
        asked = card.asked_for(quick, rows)
    except ConfigError as error:
        raise ConfigError(f"scorecard {name}: {error}") from error
    folder = CardFolder((root or pathlib.Path("reproductions") / name).absolute())
    jobs = {}
    for key, row in card.rows.items():
        try:
            jobs[key] = tuple(_job(row, seed, folder, own) for seed in row.seeds)
            _check(row, jobs[key][0])
        except ConfigError as error:
            raise ConfigError(f"scorecard {name}, row {key}: {error}") from error
    return Plan(name, card, folder, jobs, tuple(asked), command)


def known(name: str, own: str | None = None) -> Scorecard:
    """Returns a scorecard with a file, or `experiments`. Raises `ConfigError` for a mistake in it, and for an unknown name."""
    return experiments.scorecard(own) if name == experiments.NAME else read_scorecard(name, own)


def _job(row: Row, seed: int, folder: CardFolder, own: str | None) -> Job:
    words = [f"+experiment={row.experiment}", *map(override, row.overrides), f"seed={seed}"]
    for word in row.overrides:
        if word.lstrip("+~").partition("=")[0] in ("seed", "experiment"):
            raise ConfigError(f"'{word}' stands among its overrides: seeds and experiment choose them.")
    composed = composing.compose_run(words, own)
    decides = {k: v for k, v in composed.config.items() if k not in WITHOUT_EFFECT or k in _ALSO_DECIDE}
    digest = json_fingerprint(decides, 8)  # before the paths are absolute: the same in every folder
    readable = re.sub(r"[^\w.+]+", "-", f"{row.experiment}_seed-{seed}")
    flags = ["-cd", own] if own else []
    command = shlex.join(["fedlab", "train", *flags, *words])
    return Job(folder.runs / f"{readable}-{digest}", row.experiment, seed, locations.absolute(composed.config), command)


def _check(row: Row, job: Job) -> None:
    """Raises `ConfigError` if the run of a row cannot be trained, or cannot have its figure."""
    if "investigation" in job.config:
        raise ConfigError(f"{row.experiment} is an investigation, and rows are of single runs.")
    experiment = composing.build_experiment(job.config)
    rules.check(experiment)
    arm = row.metric.rpartition("/")[0]
    if arm and arm not in experiment.arms:
        there = f"its arms: {', '.join(experiment.arms)}" if experiment.arms else "its run has no arms"
        raise ConfigError(f"{row.metric} is of arm '{arm}', and {there}.{did_you_mean(arm, experiment.arms)}")
    if row.round is not None and row.round > experiment.num_rounds:
        raise ConfigError(f"its figure is that of round {row.round:,}, and its run has {experiment.num_rounds:,} rounds.")
