"""A sweep before its first job: its folder, the options in which jobs differ, the number of parallel jobs."""

from __future__ import annotations

import argparse
import dataclasses
import os
import pathlib
import re
import shlex
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import hydra
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from fedlab import cores, trust
from fedlab.archive.manifest import deciding
from fedlab.archive.task import CLASSIFICATION, described
from fedlab.config import composing as configuration
from fedlab.errors import ConfigError
from fedlab.fingerprint import json_fingerprint
from fedlab.run import locations
from fedlab.targets import cost_in, cost_named

if TYPE_CHECKING:
    from fedlab.studies.sweep.objective import Objective

Line = Callable[[str], None]

_OPTUNA = "hydra_plugins.hydra_optuna_sweeper.optuna_sweeper.OptunaSweeper"
_HERE = ("BasicLauncher", "JoblibLauncher")  # launchers whose jobs run in this process or in its children
# Sweeper options that do not change the sweep's identity
_EXTENDING = ("hydra.sweeper.n_trials=", "hydra.sweeper.n_jobs=", "hydra.sweeper.max_batch_size=")


def nowhere(line: str) -> None:
    """Discards a line."""


class Lines:
    """The receivers of lines about jobs: `progress`, and `problem` for a failed job.

    A launcher may send jobs to other processes, which cannot call functions of this one. There, `elsewhere` replaces both.
    """

    def __init__(self, progress: Line, problem: Line, elsewhere: tuple[Line, Line] = (nowhere, nowhere)):
        self.progress, self.problem, self._elsewhere = progress, problem, elsewhere

    def __reduce__(self) -> tuple[Any, ...]:
        return Lines, (*self._elsewhere, self._elsewhere)


@dataclasses.dataclass(frozen=True)
class SweepPlan:
    """The data of a sweep that each of its jobs needs. Plain values, because other processes and machines receive them."""

    folder: pathlib.Path
    name: str
    command: str
    flags: tuple[str, ...]  # flags of the command that a single job also needs
    objective: Objective
    fixed: frozenset[str]  # keys of overrides that are the same for every job
    total: int | None  # number of jobs, if known in advance
    side_by_side: int  # number of parallel jobs on this machine
    cores: int | None  # cores per job, if jobs run in parallel
    lines: Lines = dataclasses.field(compare=False)
    pid: int  # of the process that leads the sweep
    invocation: str  # identifies this invocation of the command
    launched_here: bool
    by_default: bool  # whether the configuration itself asks for a sweep, without -m
    trusted: bool  # whether --trust was given
    full_error: str | None  # the user's HYDRA_FULL_ERROR; while Hydra runs, the environment has another
    first_number: int = 1  # number of the first job without a folder


def may_be_a_sweep(args: argparse.Namespace, single: DictConfig | Exception | None) -> bool:
    """Returns False if composing another time would show that the flags ask for a single run.

    `single`: the configuration of that run, the error from composing it, or None. Only a sweep may give an option several values,
    and leave a choice to the sweeper.
    """
    if isinstance(single, DictConfig):
        return bool(single.hydra.mode == RunMode.MULTIRUN)
    if isinstance(single, Exception):
        return any(words in str(single) for words in ("requires --multirun", "Ambiguous value for argument", "You must specify"))
    return True


def composed(argv: Sequence[str], args: argparse.Namespace) -> DictConfig | None:
    """Returns the configuration with Hydra's own part, without swept values; None if `argv` asks for no sweep."""
    if args.help or args.hydra_help or args.cfg or args.info:
        return None
    found = configuration.folders(args.config_dir)
    try:
        with (
            configuration.searching(found),
            hydra.initialize_config_dir(config_dir=str(configuration.config_dir()), version_base="1.3"),
        ):
            initialized = GlobalHydra.instance().hydra
            assert initialized is not None
            config = initialized.compose_config(
                config_name=args.config_name or "train",
                overrides=list(args.overrides),
                run_mode=RunMode.MULTIRUN,
                with_log_configuration=False,
                validate_sweep_overrides=False,
            )
    except configuration.COMPOSING as error:
        if args.multirun:
            raise ConfigError(configuration.why(error, argv)) from error
        return None  # Hydra will report it
    return config if args.multirun or config.hydra.mode == RunMode.MULTIRUN else None


def plan(config: DictConfig, args: argparse.Namespace, argv: Sequence[str], lines: Lines) -> SweepPlan:
    """Plans a sweep. Raises `ConfigError` for an invalid objective or number of parallel jobs."""
    choices, hydra_part = config.hydra.runtime.choices, config.hydra
    name = choices.get("experiment") or f"{choices.get('data')}/{choices.get('process')}"
    task_overrides = OverridesParser.create().parse_overrides(list(hydra_part.overrides.task))
    swept = [f"{key}={value}" for key, value in (hydra_part.sweeper.get("params") or {}).items()]
    keys = [o.get_key_element().lstrip("+") for o in task_overrides if o.is_sweep_override()]
    keys = list(dict.fromkeys([*keys, *(str(key).lstrip("+") for key in hydra_part.sweeper.get("params") or {})]))
    objective = configuration.build(config, "objective")
    if objective.seeds > 1 and "seed" in keys:
        raise ConfigError(f"objective.seeds={objective.seeds} chooses the seeds of each job: do not sweep over seed as well.")
    _check_targets(config, objective, keys)
    varied = [_readable(map(last_word, keys))] if keys else []
    called = "-".join([*varied, json_fingerprint(_identity(hydra_part.overrides), 8)])
    folder = pathlib.Path(hydra_part.sweep.dir or f"multirun/{name}/{called}")
    jobs = _how_many(swept, list(hydra_part.overrides.task), hydra_part.sweeper)
    total = jobs * objective.seeds if jobs else jobs
    side_by_side = min(_side_by_side(hydra_part), total or 10**9)
    flags = [*(["-cd", args.config_dir] if args.config_dir else []), *(["-cn", args.config_name] if args.config_name else [])]
    return SweepPlan(
        folder=folder.absolute(),
        name=name,
        command=shlex.join(["fedlab", "train", *argv]),
        flags=tuple(flags),
        objective=objective,
        fixed=frozenset(o.get_key_element() for o in task_overrides if not o.is_sweep_override())
        - ({"seed"} if objective.seeds > 1 else set()),
        total=total,
        side_by_side=side_by_side,
        cores=cores.share(side_by_side) if side_by_side > 1 else None,
        lines=lines,
        pid=os.getpid(),
        invocation=f"{socket.gethostname()} {os.getpid()} {time.time():.3f}",
        launched_here=hydra_part.launcher._target_.rpartition(".")[2] in _HERE,
        by_default=not args.multirun,
        trusted=trust.everything_is_trusted(),
        full_error=os.environ.get("HYDRA_FULL_ERROR"),
    )


def _check_targets(config: DictConfig, objective: Objective, swept: Sequence[str]) -> None:
    """Raises `ConfigError` for the cost of a target of runs with arms, or with a target that the metric cannot have.

    The latter only if the task is known before the data is read: from the algorithm, or from data that is published with classes.
    """
    targets = {name: found[1] for name in objective.metrics or () if (found := cost_in(name))}
    if not targets:
        return
    if config.get("arms"):
        cost = next(found for name in targets if (found := cost_in(name)))
        given = f"target={objective.target:g}" if objective.target is not None else f"metric={cost_named(*cost)}"
        raise ConfigError(f"objective.{given}: the runs have arms: choose another metric, ARM/NAME of an arm.")
    if {"data", "process", "experiment"} & set(swept):
        return
    from fedlab.run import rules

    own, data = configuration.build(config, "process").task, configuration.build(config, "data")
    if own is not None or data.published is not None:
        task = described(own.described()) if own is not None else CLASSIFICATION
        for name, target in targets.items():
            option = f"metric={name.partition('[')[0]}[{{:g}}]" if objective.target is None else "target={:g}"
            rules.check_targets(f"objective.{option}", [target], task)


def uses_optuna(config: DictConfig) -> bool:
    """Returns whether Optuna chooses the jobs."""
    return config.hydra.sweeper._target_ == _OPTUNA


def overrides_for_hydra(plan: SweepPlan) -> list[str]:
    """Returns the overrides of Hydra's own configuration that every sweep needs."""
    return [override("hydra.sweep.dir", str(plan.folder)), "hydra.sweep.subdir=."]


def override(key: str, text: str) -> str:
    """Returns `key=text` in Hydra's grammar, with `text` quoted."""
    escaped = text.replace("'", r"\'")
    return f"{key}='{escaped}'"


def job_folder(sweep: pathlib.Path, parameters: dict[str, Any], config: dict[str, Any]) -> pathlib.Path:
    """Returns the existing folder of this configuration; else one named after the parameters.

    The name ends with a hash of all options that determine the result.
    """
    digest = json_fingerprint(_deciding(config), 8)
    there = sorted(sweep.glob(f"*-{digest}"))
    if there:
        return there[0]
    return sweep / f"{_readable([f'{last_word(k)}-{v}' for k, v in parameters.items()]) or 'job'}-{digest}"


def but_for_the_seed(config: dict[str, Any]) -> str:
    """Returns a digest that is equal exactly for jobs that differ in their seed alone."""
    return json_fingerprint({k: v for k, v in _deciding(config).items() if k != "seed"}, 8)


def but_for_locations(config: dict[str, Any]) -> str:
    """Returns a digest that is equal exactly for jobs that differ in the locations of files alone."""
    return json_fingerprint(_deciding(locations.without(config)), 8)


def _deciding(config: dict[str, Any]) -> dict[str, Any]:
    """Returns the part of a configuration that determines the result."""
    return deciding(config, ("num_rounds", "stop", "attack"))


def _readable(words: Iterable[str]) -> str:
    """Joins `words` to a part of a folder's name."""
    return re.sub(r"[^\w.+]+", "-", "_".join(words)).strip("-.")[:60].rstrip("-_.")


def last_word(key: str) -> str:
    """Returns the last word of a dotted key; for an item of a list, with its number: `hidden.0`."""
    return re.sub(r"^.*\.(?=[^.]*[^.\d])", "", key)


def job_parameters(plan: SweepPlan, overrides: Sequence[str]) -> dict[str, Any]:
    """Returns the values of the keys in `overrides` that are not the same for every job."""
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    own = [o for o in parsed if o.get_key_element() not in plan.fixed]
    return {o.get_key_element().lstrip("+"): _plain(o.value()) for o in own}


def job_command(plan: SweepPlan, overrides: Sequence[str]) -> str:
    """Returns the command that runs one job alone."""
    single = ["hydra.mode=RUN"] if plan.by_default else []
    return shlex.join(["fedlab", "train", *plan.flags, *overrides, *single])


def _identity(overrides: DictConfig) -> list[str]:
    """Returns the overrides that identify a sweep, without the number of trials and the launcher."""
    chosen = [o for o in overrides.hydra if re.match(r"\+*hydra[./]sweeper", o) and not o.startswith(_EXTENDING)]
    return sorted([*overrides.task, *chosen])


def _how_many(swept: Sequence[str], arguments: Sequence[str], sweeper: DictConfig) -> int | None:
    if "n_trials" in sweeper:
        return sweeper.n_trials
    try:
        return len(BasicSweeper.split_arguments(OverridesParser.create().parse_overrides([*swept, *arguments]), None)[0])
    except HydraException:  # Hydra will report the error
        return None


def _side_by_side(hydra_part: DictConfig) -> int:
    """Returns the number of parallel jobs on this machine: the launcher's n_jobs, or 1 without that option."""
    given = OmegaConf.select(hydra_part, "launcher.n_jobs")
    if not isinstance(given, int):
        return 1
    if given == 0:
        raise ConfigError("hydra.launcher.n_jobs=0: must be 1 or more, or -1 for one job per core.")
    return given if given > 0 else max(1, cores.available() + 1 + given)


def _plain(value: Any) -> Any:
    """Converts a value of an override to JSON types."""
    if isinstance(value, list):
        return [_plain(v) for v in value]
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    return value if value is None or isinstance(value, (bool, int, float, str)) else getattr(value, "text", str(value))
