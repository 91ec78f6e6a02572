"""Builds the experiment of a recorded run again, from its manifest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fedlab.archive import Run
from fedlab.archive.folder import relative
from fedlab.archive.manifest import WITHOUT_EFFECT
from fedlab.config.composing import build_experiment, catalogue, compose, why
from fedlab.errors import ConfigError, did_you_mean
from fedlab.run import locations, recorded
from fedlab.run.experiment import Experiment

_MOST_SHOWN = 3  # differences


def rebuilt(run: Run, moved: Sequence[str], verb: str, also: Sequence[str] = ()) -> tuple[Experiment, dict[str, Any]]:
    """Returns the experiment of `run`, without its loggers, and its configuration.

    `moved`: the new locations of its files, as key=path; `also`: other words that the command accepts. Raises `FedlabError`, and
    `NotTrusted` for code that is not fedlab's.
    """
    config: dict[str, Any] = {**run.config, "logger": {}}
    experiment = build_experiment(recorded.trusted(config, run.path, run.manifest.get("code")))
    if moved:
        config = locations.moved(config, moved, verb, also)
        experiment = build_experiment(config)
    return experiment, config


def continued(run: Run, overrides: Sequence[str], at: Mapping[str, Any] | None = None) -> tuple[Experiment, dict[str, Any]]:
    """Returns the experiment that continues `run`, and its configuration.

    `overrides` may set options that change no computed round: num_rounds, stop.…, checkpoint.…, logger.…, and new paths of files,
    such as data.path; other options keep their values. `at`: instead of overrides, a configuration with the paths of the files.
    Raises `ConfigError` with the differences, and `NotTrusted` for code that is not fedlab's.
    """
    build_experiment(recorded.trusted(run.config, run.path, run.manifest.get("code")))  # imports the user's components
    config = locations.taken_from(at, run.config) if at is not None else _overridden(run, overrides)
    return build_experiment(config), config


def _overridden(run: Run, overrides: Sequence[str]) -> dict[str, Any]:
    """Returns the run's configuration with `overrides`, which change no computed round."""
    then: dict[str, Any] = run.config
    for override in overrides:
        if "=" not in override or override.startswith(("~", "resume=")):
            raise ConfigError(f"'{override}' does not go with resume=…: it takes key=value, --quiet and --trust only.")
    groups = set(catalogue().groups())
    if any(o.lstrip("+").partition("=")[0].partition("@")[0] in groups for o in overrides):  # the whole command is repeated
        now: Any = OmegaConf.to_container(compose(overrides), resolve=True)
    else:
        known = list(_keys(then))
        for key in (o.lstrip("+").partition("=")[0] for o in overrides):
            if key not in known and key.partition(".")[0] not in WITHOUT_EFFECT:
                raise ConfigError(f"{relative(run.path)} has no option '{key}'.{did_you_mean(key, known)}")
        try:
            changed = OmegaConf.merge(OmegaConf.create(then), OmegaConf.from_dotlist([o.lstrip("+") for o in overrides]))
        except (OmegaConfBaseException, ValueError) as error:
            raise ConfigError(why(error, overrides)) from error
        now = OmegaConf.to_container(changed)
    now = locations.absolute(now)
    differences = [
        f"{key} is {_shown(before)} in the run, {_shown(after)} here" for key, before, after in locations.differences(then, now)
    ]
    if differences:
        more = [f"{len(differences) - _MOST_SHOWN} more options differ"] if len(differences) > _MOST_SHOWN else []
        shown = "; ".join([*differences[:_MOST_SHOWN], *more])
        raise ConfigError(f"a resumed run keeps its configuration, and {shown}: leave it out, or start a run of its own.")
    return now


def _keys(config: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yields the dotted keys of a nested configuration."""
    for key, value in config.items():
        yield f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _keys(value, f"{prefix}{key}.")


def _shown(value: Any) -> str:
    return "not set" if value is None else str(value)
