"""`fedlab train resume=RUN`: goes on with a run in its own folder, from its own configuration."""

from __future__ import annotations

import pathlib
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from fedlab.archive import Run, RunFolder, read_run
from fedlab.archive.differences import compared
from fedlab.archive.lock import RunLock
from fedlab.archive.manifest import WITHOUT_EFFECT
from fedlab.cli import config as configuration
from fedlab.cli import recorded
from fedlab.cli.job import Job, go_on, relative, require_whole
from fedlab.errors import ConfigError, did_you_mean

_PATIENCE_SECONDS = 5.0  # a run that has just been told to stop may still be saving its state
_MOST_SHOWN = 3  # differences


def resume(run_path: str, overrides: Sequence[str], console: Console, argv: Sequence[str]) -> dict[str, Any]:
    """Goes on with the run in `run_path`; returns its summary.

    `overrides` may set what changes no round that has been computed: num_rounds, checkpoint.…, logger.…; what else they say
    must be as it was. Raises `ConfigError` with the differences, or where nothing is left to do.
    """
    flags = [o for o in overrides if o.startswith("-")]
    if flags:
        raise ConfigError(f"{flags[0]} does not go with resume=…: it takes key=value, --quiet and --trust only.")
    if not run_path:
        raise ConfigError("resume= must name the folder of a run.")
    folder = RunFolder.existing(pathlib.Path(run_path))
    with RunLock(folder.lock, _PATIENCE_SECONDS):
        run = read_run(folder.path, to_go_on=True)
        require_whole(run)
        recorded.trusted(run.config, run.path)
        config = _config(run, overrides)
        experiment = configuration.build_experiment(OmegaConf.create(config))
        done, wanted = run.rounds_completed, experiment.num_rounds
        if run.manifest["status"] == "finished" and wanted == run.manifest["num_rounds"] and not run.unsealed:
            raise ConfigError(f"{relative(run.path)} has finished all of its {done} rounds: add more with num_rounds=N.")
        if wanted < done:
            raise ConfigError(f"num_rounds={wanted}, but {relative(run.path)} has done {done} rounds already.")
        if wanted != run.manifest["num_rounds"] and getattr(experiment.privacy, "target_epsilon", None):
            raise ConfigError(
                f"privacy.target_epsilon of {relative(run.path)} is spent by its {run.manifest['num_rounds']} rounds, for which "
                "the noise was chosen: it cannot have another number of rounds."
            )
        job = Job(experiment, config, run.manifest["name"], shlex.join(["fedlab", "train", *argv]))
        return go_on(job, run, console)


def _config(run: Run, overrides: Sequence[str]) -> dict[str, Any]:
    """The run's configuration with `overrides`, which change nothing that matters."""
    then: dict[str, Any] = run.config
    for override in overrides:
        if "=" not in override or override.startswith(("~", "resume=")):
            raise ConfigError(f"'{override}' does not go with resume=…: it takes key=value, --quiet and --trust only.")
    groups = set(configuration.catalogue().groups())
    if any(o.lstrip("+").partition("=")[0].partition("@")[0] in groups for o in overrides):  # the whole command once more
        now: Any = OmegaConf.to_container(configuration.compose(overrides), resolve=True)
    else:
        known = list(_keys(then))
        for key in (o.lstrip("+").partition("=")[0] for o in overrides):
            if key not in known and key.partition(".")[0] not in WITHOUT_EFFECT:
                raise ConfigError(f"{relative(run.path)} has no option '{key}'.{did_you_mean(key, known)}")
        try:
            changed = OmegaConf.merge(OmegaConf.create(then), OmegaConf.from_dotlist([o.lstrip("+") for o in overrides]))
        except (OmegaConfBaseException, ValueError) as error:
            raise ConfigError(configuration.why(error, overrides)) from error
        now = OmegaConf.to_container(changed)
    differences = [
        f"{key} is {_shown(before)} in the run, {_shown(after)} here"
        for key, before, after in compared(then, now)
        if key.partition(".")[0] not in WITHOUT_EFFECT
    ]
    if differences:
        more = [f"{len(differences) - _MOST_SHOWN} more options differ"] if len(differences) > _MOST_SHOWN else []
        shown = "; ".join([*differences[:_MOST_SHOWN], *more])
        raise ConfigError(f"a resumed run keeps its configuration, and {shown}: leave it out, or start a run of its own.")
    return now


def _keys(config: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """The dotted keys of a nested configuration."""
    for key, value in config.items():
        yield f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _keys(value, f"{prefix}{key}.")


def _shown(value: Any) -> str:
    return "not set" if value is None else str(value)
