"""Composes a configuration with Hydra, turns its nodes into validated specs, and words what went wrong in one line."""

from __future__ import annotations

import functools
import inspect
import pathlib
import re
from typing import Any, Sequence

import hydra
import pydantic
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

import fedlab
from fedlab.errors import ConfigError, did_you_mean
from fedlab.run.experiment import Experiment
from fedlab.spec import Spec


def config_dir() -> pathlib.Path:
    """Where the shipped YAML files are: inside the package when installed from a wheel, beside it in a checkout."""
    package = pathlib.Path(fedlab.__file__).parent
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


def compose(overrides: Sequence[str], config_name: str = "train") -> DictConfig:
    """The composed configuration, as `fedlab train` would see it. Raises `ConfigError`."""
    try:
        with hydra.initialize_config_dir(config_dir=str(config_dir()), version_base="1.3"):
            return hydra.compose(config_name=config_name, overrides=list(overrides))
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(explain(error, overrides)) from error


def build(config: DictConfig, stage: str) -> Any:
    """Instantiates the node `stage` of `config` by its `_target_`: a `Spec`, or a user's own callable as a partial.

    Raises `ConfigError` in one line that names the key, the value, and what is allowed.
    """
    node = config.get(stage)
    if not isinstance(node, DictConfig) or "_target_" not in node:
        raise ConfigError(f"{stage} must name what to build in _target_, got {node!r}: choose one with {stage}=NAME.")
    try:
        OmegaConf.resolve(node)
        options = {k: v for k, v in OmegaConf.to_container(node, throw_on_missing=True).items() if k != "_target_"}
        target = hydra.utils.get_object(node._target_)
    except OmegaConfBaseException as error:
        raise ConfigError(explain(error)) from error
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"{stage}._target_={node._target_} cannot be imported: {_first_line(error.__cause__ or error)}") from error
    if inspect.isfunction(target):
        return _checked_partial(target, options, stage)
    try:
        return target(**options)
    except pydantic.ValidationError as error:
        raise ConfigError(_validation_line(error, stage)) from error
    except TypeError as error:
        raise ConfigError(f"{stage}: {_first_line(error)}") from error


def build_experiment(config: DictConfig) -> Experiment:
    """Every stage of `config`, validated. Raises `ConfigError`."""
    fields = Experiment.model_fields
    unknown = next((key for key in config if key not in fields), None)
    if unknown is not None:
        raise ConfigError(f"no option '{unknown}'.{did_you_mean(str(unknown), fields)} Options: {', '.join(fields)}.")
    try:
        plain = {k: config[k] for k in config if not isinstance(config[k], DictConfig)}
    except OmegaConfBaseException as error:
        raise ConfigError(explain(error)) from error
    stages = {k: build(config, str(k)) for k in config if k not in plain}
    try:
        return Experiment(**plain, **stages)
    except pydantic.ValidationError as error:
        raise ConfigError(_validation_line(error, "")) from error


def _checked_partial(function: Any, options: dict, stage: str) -> Any:
    """A user's function with its options filled in, once they are known to be its own."""
    try:
        inspect.signature(function).bind_partial(**options)
    except TypeError as error:
        names = ", ".join(inspect.signature(function).parameters)
        raise ConfigError(f"{stage}: {_first_line(error)}; {function.__name__} takes {names}.") from error
    return functools.partial(function, **options)


def explain(error: BaseException, overrides: Sequence[str] = ()) -> str:
    """One line for what Hydra or OmegaConf found wrong: what was given, what is allowed, what to do."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, name = str(error.missing_cfg_file).rpartition("/")
        choices = list(error.options or [])
        for top in GROUPS_WITH_FOLDERS:  # the choices of experiment/mnist/x are those of experiment
            if group.startswith(f"{top}/"):
                group, name = top, str(error.missing_cfg_file)[len(top) + 1 :]
        if group in GROUPS_WITH_FOLDERS or not choices:
            choices = choices_of(group, overrides)
        if not choices:
            return f"no configuration '{error.missing_cfg_file}'."
        return f"no {group} '{name}'.{did_you_mean(name, choices)} Choices: {', '.join(choices)}."
    text = str(error)
    given = re.search(r"Could not (?:override|delete|append) '([^']+)'|full_key: (\S+)|key '([^']+)'", text, re.IGNORECASE)
    if isinstance(error, ConfigCompositionException) and given:
        key = next(g for g in given.groups() if g)
        group, _, value = key.partition("=")
        if group in GROUPS_WITH_FOLDERS:
            value = next((o.partition("=")[2] for o in overrides if o.startswith(f"{group}=")), "NAME")
            return f"{group} is not part of a run by default: add it with a plus, +{group}={value}."
        if text.startswith("Could not append") or "is already" in text:
            return f"{group} is there already: set it without the plus."
        return f"no option '{group}'.{did_you_mean(group, _known_keys(group))} See fedlab train --help."
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " ".join(lines[:2]) if lines else type(error).__name__


GROUPS_WITH_FOLDERS = ("experiment",)


def choices_of(group: str, overrides: Sequence[str] = ()) -> list[str]:
    """The choices of a configuration group, folders included, e.g. `mnist/fedavg_iid`."""
    root = config_dir() / group
    return sorted(str(path.relative_to(root).with_suffix("")) for path in root.rglob("*.yaml"))


def _known_keys(near: str) -> list[str]:
    """Every group and dotted key of the default configuration, those at the depth of `near` last."""
    groups = [path.name for path in config_dir().iterdir() if path.is_dir()]
    config = compose([])
    keys = [f"{k}.{inner}" for k in config if isinstance(config[k], DictConfig) for inner in config[k]]
    return [k for k in [*groups, *map(str, config), *keys] if k.count(".") == near.count(".")]


def _validation_line(error: pydantic.ValidationError, stage: str) -> str:
    """The first thing pydantic found wrong, as `stage.key=value: …`."""
    first = error.errors()[0]
    path = [stage] if stage else []
    path += [str(part) for part in first["loc"] if not str(part).startswith(("function-", "constrained-"))]
    key, given, kind = ".".join(path), first.get("input"), first["type"]
    if kind == "extra_forbidden":
        allowed = _allowed_fields(error.title)
        return f"no option '{key}'.{did_you_mean(path[-1], allowed)} Options of {stage}: {', '.join(allowed) or 'none'}."
    if kind == "missing":
        return f"{key} must be given: set {key}=VALUE."
    if kind == "value_error" and not first["loc"]:
        return f"{stage}: {first['ctx']['error']}"
    if kind == "is_instance_of":
        return f"{key} cannot be a {type(given).__name__}: {first['msg'].lower()}."
    message = str(first.get("ctx", {}).get("error", first["msg"])).replace("Input should be", "must be").replace("Input", "it")
    return f"{key}={given}: {message}."


def _allowed_fields(title: str) -> list[str]:
    """Option names of the spec class called `title`."""
    pending = [Spec]
    while pending:
        candidate = pending.pop()
        if candidate.__name__ == title:
            return list(candidate.model_fields)
        pending += candidate.__subclasses__()
    return []


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
