"""What a sweep is, before its first job: where it lies, what its jobs differ in, how many of them run side by side."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import os
import pathlib
import re
import shlex
import socket
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import hydra
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from fedlab import cores, trust
from fedlab.archive.manifest import WITHOUT_EFFECT
from fedlab.cli import config as configuration
from fedlab.errors import ConfigError

if TYPE_CHECKING:
    from fedlab.run.objective import Objective

_OPTUNA = "hydra_plugins.hydra_optuna_sweeper.optuna_sweeper.OptunaSweeper"
_HERE = ("BasicLauncher", "JoblibLauncher")  # launchers whose jobs run in this process or in its children
# Of the sweeper's options, those that make it no other sweep
_EXTENDING = ("hydra.sweeper.n_trials=", "hydra.sweeper.n_jobs=", "hydra.sweeper.max_batch_size=")


@dataclasses.dataclass(frozen=True)
class Plan:
    """What every job is told of its sweep. Plain values: they travel to other processes and machines."""

    folder: pathlib.Path
    name: str
    command: str
    flags: tuple[str, ...]  # of the command, those that a job by itself needs as well
    objective: Objective
    fixed: frozenset[str]  # keys of overrides that are the same for every job
    total: int | None  # jobs, where that is known beforehand
    side_by_side: int  # jobs at a time on this machine
    cores: int | None  # for each of them, where there are several
    quiet: bool
    pid: int  # of the process that leads the sweep
    invocation: str  # tells this invocation of the command from others
    launched_here: bool
    by_default: bool  # whether the configuration itself asks for a sweep, without -m
    trusted: bool  # whether --trust was given
    first_number: int = 1  # of the first job that has no folder yet


def composed(argv: Sequence[str], args: argparse.Namespace) -> DictConfig | None:
    """The configuration with Hydra's own part, swept values left out; None where `argv` asks for no sweep."""
    if args.help or args.hydra_help or args.cfg or args.info or args.shell_completion or args.run:
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
        return None  # Hydra will say it
    return config if args.multirun or config.hydra.mode == RunMode.MULTIRUN else None


def plan(config: DictConfig, args: argparse.Namespace, argv: Sequence[str], quiet: bool) -> Plan:
    """Raises `ConfigError` where the objective or the number of jobs side by side cannot be."""
    choices, hydra_part = config.hydra.runtime.choices, config.hydra
    name = choices.get("experiment") or f"{choices.get('data')}/{choices.get('process')}"
    task_overrides = OverridesParser.create().parse_overrides(list(hydra_part.overrides.task))
    swept = [f"{key}={value}" for key, value in (hydra_part.sweeper.get("params") or {}).items()]
    keys = [o.get_key_element().lstrip("+") for o in task_overrides if o.is_sweep_override()]
    keys = list(dict.fromkeys([*keys, *(str(key).lstrip("+") for key in hydra_part.sweeper.get("params") or {})]))
    objective = configuration.build(config, "objective")
    if objective.seeds > 1 and "seed" in keys:
        raise ConfigError(f"objective.seeds={objective.seeds} chooses the seeds of each job: do not sweep over seed as well.")
    called = "-".join([*([_readable(map(last_word, keys))] if keys else []), _digest(_identity(hydra_part.overrides))])
    folder = pathlib.Path(hydra_part.sweep.dir or f"multirun/{name}/{called}")
    jobs = _how_many(swept, list(hydra_part.overrides.task), hydra_part.sweeper)
    total = jobs * objective.seeds if jobs else jobs
    side_by_side = min(_side_by_side(hydra_part), total or 10**9)
    flags = [*(["-cd", args.config_dir] if args.config_dir else []), *(["-cn", args.config_name] if args.config_name else [])]
    return Plan(
        folder=folder.absolute(),
        name=name,
        command=shlex.join(["fedlab", "train", *argv]),
        flags=tuple(flags),
        objective=objective,
        fixed=frozenset(o.get_key_element() for o in task_overrides if not o.is_sweep_override())
        - ({"seed"} if objective.seeds > 1 else set()),
        total=total,
        side_by_side=side_by_side,
        cores=max(1, cores.available() // side_by_side) if side_by_side > 1 else None,
        quiet=quiet,
        pid=os.getpid(),
        invocation=f"{socket.gethostname()} {os.getpid()} {time.time():.3f}",
        launched_here=hydra_part.launcher._target_.rpartition(".")[2] in _HERE,
        by_default=not args.multirun,
        trusted=trust.everything_is_trusted(),
    )


def uses_optuna(config: DictConfig) -> bool:
    """Whether the jobs are chosen by Optuna."""
    return config.hydra.sweeper._target_ == _OPTUNA


def overrides_for_hydra(plan: Plan) -> list[str]:
    """What the sweep settles of Hydra's own configuration."""
    return [override("hydra.sweep.dir", str(plan.folder)), "hydra.sweep.subdir=."]


def override(key: str, text: str) -> str:
    """`key=text` in Hydra's grammar, whatever is in the text."""
    escaped = text.replace("'", r"\'")
    return f"{key}='{escaped}'"


def job_folder(sweep: pathlib.Path, parameters: dict[str, Any], config: dict[str, Any]) -> pathlib.Path:
    """The folder of this configuration, whatever it is called; else one named for the parameters.

    The name ends with a hash of all that decides the result.
    """
    digest = _digest(_deciding(config))
    there = sorted(sweep.glob(f"*-{digest}"))
    if there:
        return there[0]
    return sweep / f"{_readable([f'{last_word(k)}-{v}' for k, v in parameters.items()]) or 'job'}-{digest}"


def but_for_the_seed(config: dict[str, Any]) -> str:
    """The same text for jobs that differ in their seed alone, and for no others."""
    return _digest({k: v for k, v in _deciding(config).items() if k != "seed"})


def _deciding(config: dict[str, Any]) -> dict[str, Any]:
    """The part of a configuration that decides the result."""
    return {k: v for k, v in config.items() if k not in WITHOUT_EFFECT or k in ("num_rounds", "attack")}


def _readable(words: Iterable[str]) -> str:
    """`words` as part of a folder's name."""
    return re.sub(r"[^\w.+]+", "-", "_".join(words)).strip("-.")[:60].rstrip("-_.")


def last_word(key: str) -> str:
    """Of a dotted key; of an item of a list, with its number: `hidden.0`."""
    return re.sub(r"^.*\.(?=[^.]*[^.\d])", "", key)


def job_parameters(plan: Plan, overrides: Sequence[str]) -> dict[str, Any]:
    """The values of the keys that are this job's own, of its `overrides`."""
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    own = [o for o in parsed if o.get_key_element() not in plan.fixed]
    return {o.get_key_element().lstrip("+"): _plain(o.value()) for o in own}


def job_command(plan: Plan, overrides: Sequence[str]) -> str:
    """What runs one job by itself."""
    single = ["hydra.mode=RUN"] if plan.by_default else []
    return shlex.join(["fedlab", "train", *plan.flags, *overrides, *single])


def _identity(overrides: DictConfig) -> list[str]:
    """The overrides that make a sweep what it is: how many trials it has and where its jobs run do not."""
    chosen = [o for o in overrides.hydra if re.match(r"\+*hydra[./]sweeper", o) and not o.startswith(_EXTENDING)]
    return sorted([*overrides.task, *chosen])


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:8]


def _how_many(swept: Sequence[str], arguments: Sequence[str], sweeper: DictConfig) -> int | None:
    if "n_trials" in sweeper:
        return sweeper.n_trials
    try:
        return len(BasicSweeper.split_arguments(OverridesParser.create().parse_overrides([*swept, *arguments]), None)[0])
    except HydraException:  # Hydra will say what is wrong with them
        return None


def _side_by_side(hydra_part: DictConfig) -> int:
    """How many jobs run at a time on this machine: the launcher's n_jobs, where it has such an option."""
    given = OmegaConf.select(hydra_part, "launcher.n_jobs")
    if not isinstance(given, int):
        return 1
    if given == 0:
        raise ConfigError("hydra.launcher.n_jobs=0: must be 1 or more, or -1 for one job per core.")
    return given if given > 0 else max(1, cores.available() + 1 + given)


def _plain(value: Any) -> Any:
    """A value of an override as JSON has it."""
    if isinstance(value, list):
        return [_plain(v) for v in value]
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    return value if value is None or isinstance(value, (bool, int, float, str)) else getattr(value, "text", str(value))
