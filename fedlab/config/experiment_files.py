"""Checks experiment files before Hydra reads them, because Hydra composes a wrong configuration from some mistakes silently."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

import yaml
from omegaconf import OmegaConf

from fedlab.archive.folder import relative
from fedlab.config.explain import ADDED_GROUPS, not_yaml
from fedlab.errors import ConfigError

_AROUND = " \t'\""  # what may surround a value
_PACKAGE = re.compile(r"#\s*@package\s+_global_\s*$")


def check(overrides: Sequence[str], folders: Sequence[pathlib.Path]) -> None:
    """Raises `ConfigError` for a mistake in the experiments that `overrides` choose, or in the experiments they are based on.

    `folders`: the configuration folders; a file in an earlier folder hides files of the same name in later ones.
    """
    stages = _stages(folders)
    todo, done = [name for override in overrides for name in _chosen(override)], set()
    while todo:
        name = todo.pop()
        path = next((p for folder in folders if (p := folder / f"{name}.yaml").is_file()), None)
        if path is not None and path not in done:  # Hydra reports a missing file
            done.add(path)
            todo += _checked(path, stages)


def _chosen(override: str) -> Iterator[str]:
    """Yields the files, such as experiment/mnist/fedavg_iid, that one word of the command line chooses; several in a sweep."""
    group, _, values = override.lstrip("+").partition("=")
    if group in ADDED_GROUPS:
        yield from (f"{group}/{value.strip(_AROUND)}" for value in values.split(","))


def _stages(folders: Sequence[pathlib.Path]) -> set[str]:
    """Returns the groups that have a choice by default in every run."""
    path = next(p for folder in folders if (p := folder / "train.yaml").is_file())
    return {str(group) for entry in OmegaConf.load(path).defaults if not isinstance(entry, str) for group in entry}


def _checked(path: pathlib.Path, stages: set[str]) -> list[str]:
    """Checks one file and returns the experiments on which it is based."""
    config = load(path)
    if not any(_PACKAGE.match(line.strip()) for line in _header(path)):
        raise ConfigError(
            f"{relative(path)} has no line '# @package _global_', so its options would not apply to a run: add it as first line."
        )
    based_on, overridden = [], set()
    for entry in config.get("defaults") or []:
        if isinstance(entry, str):
            based_on.append(entry.lstrip("/"))
            continue
        for key, choice in entry.items():
            *words, group = str(key).split()
            bare = group.lstrip("/")
            if bare in stages and not group.startswith("/"):
                raise ConfigError(f"{relative(path)}: '{key}: {choice}' among its defaults must be 'override /{bare}: {choice}'.")
            if bare in stages and "override" not in words:
                raise ConfigError(f"{relative(path)}: '{key}: {choice}' among its defaults must be 'override {group}: {choice}'.")
            if group in overridden:
                raise ConfigError(f"{relative(path)} chooses {bare} twice among its defaults: keep one of them.")
            overridden.add(group)
            if bare in ADDED_GROUPS:
                based_on.append(f"{bare}/{choice}")
    return based_on


def load(path: pathlib.Path) -> dict[str, Any]:
    """Returns the content of a configuration file. Raises `ConfigError` if it is no YAML mapping."""
    try:
        config: Any = OmegaConf.to_container(OmegaConf.load(path))
    except (OSError, yaml.YAMLError, ValueError) as error:
        raise ConfigError(not_yaml(error, relative(path))) from error
    if not isinstance(config, dict):
        raise ConfigError(f"{relative(path)} must contain options, as key: value.")
    return {str(key): value for key, value in config.items()}


def _header(path: pathlib.Path) -> list[str]:
    """Returns the comments and empty lines above the first option."""
    lines = path.read_text(encoding="utf-8").splitlines()
    end = next((i for i, line in enumerate(lines) if line.strip() and not line.lstrip().startswith("#")), len(lines))
    return lines[:end]
