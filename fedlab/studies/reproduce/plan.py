"""A scorecard before its first run: the run of every row and seed, composed and checked. Rows with equal runs share them."""

from __future__ import annotations

import dataclasses
import pathlib
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from fedlab import registry
from fedlab.archive.manifest import WITHOUT_EFFECT
from fedlab.config import composing
from fedlab.errors import ConfigError, did_you_mean
from fedlab.fingerprint import json_fingerprint
from fedlab.library import override
from fedlab.registry import Asked, Batch
from fedlab.run import locations, rules
from fedlab.studies.reproduce import experiments
from fedlab.studies.reproduce.jobs import BatchJob, Job, RunJob, VerbJob
from fedlab.studies.reproduce.results import CardFolder
from fedlab.studies.reproduce.scorecard import Row, Scorecard
from fedlab.studies.reproduce.scorecard import read as read_scorecard

_ALSO_DECIDE = ("num_rounds", "stop", "attack")  # change no computed round, but figures


@dataclasses.dataclass(frozen=True)
class ScorecardPlan:
    """A scorecard with the jobs of all its rows: of a run, one per seed. `asked`: the rows that this command runs."""

    name: str
    card: Scorecard
    folder: CardFolder
    jobs: Mapping[str, tuple[Job, ...]]
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
) -> ScorecardPlan:
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
            jobs[key] = _jobs(row, folder, own)
        except ConfigError as error:
            raise ConfigError(f"scorecard {name}, row {key}: {error}") from error
    return ScorecardPlan(name, card, folder, jobs, tuple(asked), command)


def known(name: str, own: str | None = None) -> Scorecard:
    """Returns a scorecard with a file, or `experiments`. Raises `ConfigError` for a mistake in it, and for an unknown name."""
    return experiments.scorecard(own) if name == experiments.NAME else read_scorecard(name, own)


def _jobs(row: Row, folder: CardFolder, own: str | None) -> tuple[Job, ...]:
    """Returns the jobs of a row. Raises `ConfigError` for a mistake in it."""
    if row.verb is not None:
        words = tuple(shlex.split(row.verb))
        path = folder.runs / f"{_readable(f'{words[0]}_')}{json_fingerprint(list(words), 8)}"
        return (VerbJob(path, row.verb, "", shlex.join(["fedlab", *words]), words),)
    words = (f"+experiment={row.experiment}", *map(_override, row.overrides))
    first = composing.compose_any([*composing.each_swept(words)[0], f"seed={row.seeds[0]}"], own)
    several = first[1] or len(composing.each_swept(words)) > 1
    asked = Asked(words, row.seeds, row.metric, first[0].config, several, folder.runs, own)
    batches = registry.batches(asked)
    if batches is None:
        composed = [first[0], *(composing.compose_run([*words, f"seed={seed}"], own) for seed in row.seeds[1:])]
        jobs = tuple(_run_job(row, words, seed, one, folder, own) for seed, one in zip(row.seeds, composed))
        _check(row, jobs[0].config)
        return jobs
    for batch in batches:
        if batch.config is not None:
            _check(row, batch.config)
    return tuple(_batch_job(row, batch, seed, len(batches)) for batch, seed in zip(batches, row.seeds))


def _override(word: str) -> str:
    if word.lstrip("+~").partition("=")[0] in ("seed", "experiment"):
        raise ConfigError(f"'{word}' stands among its overrides: seeds and experiment choose them.")
    if word.lstrip("+~").startswith(("hydra.sweeper.", "hydra/sweeper")):
        return word
    return override(word)


def _run_job(
    row: Row, words: tuple[str, ...], seed: int, composed: composing.Composition, folder: CardFolder, own: str | None
) -> RunJob:
    placed = [*words, f"seed={seed}"]
    decides = {k: v for k, v in composed.config.items() if k not in WITHOUT_EFFECT or k in _ALSO_DECIDE}
    digest = json_fingerprint(decides, 8)  # before the paths are absolute: the same in every folder
    flags = ["-cd", own] if own else []
    command = shlex.join(["fedlab", "train", *flags, *placed])
    path = folder.runs / f"{_readable(f'{row.experiment}_seed-{seed}')}-{digest}"
    return RunJob(path, str(row.experiment), f"seed {seed}", command, seed, locations.absolute(composed.config))


def _batch_job(row: Row, batch: Batch, seed: int, of: int) -> BatchJob:
    seeds = f"seed {seed}" if of > 1 or len(row.seeds) == 1 else f"seeds {', '.join(map(str, row.seeds))}"
    command = shlex.join(["fedlab", *batch.words])
    return BatchJob(batch.folder, str(row.experiment), f"{batch.kind}, {seeds}", command, batch)


def _readable(text: str) -> str:
    return re.sub(r"[^\w.+]+", "-", text)


def _check(row: Row, config: Mapping[str, Any]) -> None:
    """Raises `ConfigError` if the run of a row cannot be trained, or cannot have its figure."""
    experiment = composing.build_experiment(config)
    rules.check(experiment)
    arm = row.metric.rpartition("/")[0]
    if arm and arm not in experiment.arms:
        there = f"its arms: {', '.join(experiment.arms)}" if experiment.arms else "its run has no arms"
        raise ConfigError(f"{row.metric} is of arm '{arm}', and {there}.{did_you_mean(arm, experiment.arms)}")
    if row.round is not None and row.round > experiment.num_rounds:
        raise ConfigError(f"its figure is that of round {row.round:,}, and its run has {experiment.num_rounds:,} rounds.")
