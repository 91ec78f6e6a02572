"""A sweep as a row of a scorecard: its command, and the runs of its best setting."""

from __future__ import annotations

import copy
import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from fedlab import trust
from fedlab.archive.manifest import deciding
from fedlab.config import application, composing, experiment_files
from fedlab.config.quoting import quoted
from fedlab.errors import ConfigError
from fedlab.fingerprint import json_fingerprint
from fedlab.registry import Asked, Batch, BatchResult
from fedlab.report.words import counted
from fedlab.run import rules
from fedlab.studies.sweep.names import short_names, shown_value
from fedlab.studies.sweep.plan import Lines, composed, nowhere, override, plan
from fedlab.studies.sweep.results import Group, Sweep, is_sweep, read_sweep

_ENDED = {"finished", "failed"}


def batches(asked: Asked) -> tuple[Batch, ...] | None:
    """Returns the sweep that is asked for; None if it is a single run.

    Jobs are ranked by the figure that is asked for, unless the overrides or the experiment choose another objective, by its
    metric or its target. Several seeds must be consecutive. Raises `ConfigError` for a mistake in the sweep, or in one of the
    swept values.
    """
    if not asked.several:
        return None
    words = ["-m", *asked.overrides, *_seeds(asked.seeds)]
    objective = asked.config.get("objective") or {}
    if objective.get("metric") is None and objective.get("target") is None:
        words.append(f"objective.metric={asked.metric}")
    flags = ["-cd", asked.own] if asked.own else []
    argv = [*flags, *words]
    args = application.parsed(argv)
    experiment_files.check(args.overrides, composing.folders(args.config_dir))
    config = composed(argv, args)
    assert config is not None  # because of -m
    planned = plan(config, args, argv, Lines(nowhere, nowhere))
    metrics = planned.objective.metrics or ()
    if len(metrics) > 1:
        raise ConfigError(f"its sweep has {len(metrics)} objectives ({', '.join(metrics)}), and a row needs one.")
    for each in _each_value(asked):
        rules.check(composing.build_experiment(each))
    sweeper: Any = OmegaConf.to_container(config.hydra.sweeper, resolve=True)
    swept = sorted(word for word in words if not word.startswith("-"))
    decides = {**deciding(asked.config, ("num_rounds", "stop", "attack")), "swept": swept, "sweeper": sweeper}
    readable = re.sub(r"[^\w.+]+", "-", f"{planned.name}_sweep")
    folder = asked.root / f"{readable}-{json_fingerprint(decides, 8)}"
    trusted = [trust.FLAG] if trust.everything_is_trusted() else []
    return (
        Batch(
            kind="sweep",
            words=("train", *flags, *trusted, *words),
            placing=(override("hydra.sweep.dir", str(folder)),),
            folder=folder,
            config=asked.config,
        ),
    )


def _seeds(seeds: tuple[int, ...]) -> list[str]:
    """Returns the overrides for the seeds of every job."""
    first, last = min(seeds), max(seeds)
    if last - first + 1 != len(seeds):
        raise ConfigError(f"seeds {', '.join(map(str, seeds))}: those of a sweep must be consecutive.")
    return [f"seed={first}", *([f"objective.seeds={len(seeds)}"] if len(seeds) > 1 else [])]


def _each_value(asked: Asked) -> Iterator[DictConfig | Mapping[str, Any]]:
    """Yields the first configuration, and it with each other swept value in turn."""
    yield asked.config
    words = quoted(asked.overrides)
    for i, (word, parsed) in enumerate(zip(words, OverridesParser.create().parse_overrides(words))):
        if not parsed.is_sweep_override():
            continue
        key, first = parsed.get_key_element(), composing.each_swept([*words[:i], *words[i + 1 :]])[0]
        for text in [chosen[0] for chosen in composing.each_swept([word])][1:]:
            if "." not in key:  # perhaps a choice of a group, which other options follow from
                yield composing.compose_any([*first, text, f"seed={asked.seeds[0]}"], asked.own)[0].config
                continue
            changed = OmegaConf.create(copy.deepcopy(dict(asked.config)))
            value = OverridesParser.create().parse_overrides([text])[0].value()
            OmegaConf.update(changed, key.lstrip("+"), value, force_add=True)
            yield changed


def batch_result(folder: pathlib.Path) -> BatchResult | None:
    """Returns the runs of the best setting; None if the folder is not a sweep, or some jobs have not ended.

    Jobs that failed, or did not reach a target, have no rank. Without a ranked job there are no runs, and the remark says why.
    """
    if not is_sweep(folder):
        return None
    sweep = read_sweep(folder)
    if sweep.status not in _ENDED or not {job.status for job in sweep.jobs} <= _ENDED:
        return None
    return BatchResult(tuple(job.folder for job in sweep.jobs if job.number in sweep.best), {}, _remark(sweep))


def _remark(sweep: Sweep) -> str:
    """Describes the best setting, and names the number of those without a rank."""
    ranked = [group for group in sweep.settings if group.objective]
    unranked = [job for job in sweep.jobs if not job.objective]
    if not ranked:
        return next((job.failure for job in unranked if job.failure), "no job of the sweep has an objective").rstrip(".")
    best = next(group for group in ranked if group.number in sweep.best)
    short = f"; {counted(len(unranked), 'job')} without a figure" if unranked else ""
    return f"best of {len(sweep.settings):,} settings: {_shown(best)}{short}"


def _shown(group: Group) -> str:
    names = short_names(group.parameters)
    return ", ".join(f"{names[key]}={shown_value(value)}" for key, value in group.parameters.items() if key != "seed")
