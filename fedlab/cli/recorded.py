"""Configurations that are read back from a run folder, which may come from somebody else (docs/security.md)."""

from __future__ import annotations

import importlib
import inspect
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from fedlab import trust
from fedlab.cli.config import is_of_fedlab
from fedlab.errors import FedlabError
from fedlab.spec import Spec


def trusted(config: Any, where: pathlib.Path) -> DictConfig:
    """The configuration that was read from `where`, for building.

    Raises `NotTrusted` where it names code outside of fedlab and the user has not agreed to run it, and `FedlabError` for one
    that fedlab has not written. Imports nothing but fedlab.
    """
    if not isinstance(config, Mapping):
        raise FedlabError(f"{where} is damaged: its manifest holds no configuration.")
    for key, value in _leaves(config):
        if isinstance(value, str) and "${" in value:  # a recorded configuration is resolved; this would read the environment
            raise FedlabError(f"{where} is damaged: {key} is no value but an interpolation, which fedlab does not record.")
    trust.require(str(where), findings(config))
    return OmegaConf.create(dict(config))


def findings(config: Any) -> list[str]:
    """What in a configuration names code that is not fedlab's, or a server to write to, as key=value."""
    return list(_findings(config, ""))


def _findings(node: Any, key: str) -> Iterator[str]:
    if isinstance(node, list):
        for index, item in enumerate(node):
            yield from _findings(item, f"{key}[{index}]")
    if not isinstance(node, Mapping):
        return
    if "_target_" in node:
        target = node["_target_"]
        if not isinstance(target, str) or not is_of_fedlab(target):
            yield _named(key, "_target_", target)
        else:
            for option in _reaching_out(target):
                if node.get(option) is not None:
                    yield _named(key, option, node[option])
    for name, value in node.items():
        yield from _findings(value, f"{key}.{name}" if key else str(name))


def _named(key: str, option: str, value: Any) -> str:
    return f"{key}.{option}={value}" if key else f"{option}={value}"


def _reaching_out(target: str) -> tuple[str, ...]:
    """The options of a component of fedlab that need trust; none where there is no such component, which building will say."""
    module, _, name = target.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name, None)
    except (ImportError, ValueError):
        return ()
    return found.reaches_out if inspect.isclass(found) and issubclass(found, Spec) else ()


def _leaves(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """The values of a nested configuration, and its keys, each with where it stands."""
    if isinstance(node, Mapping):
        for name, value in node.items():
            inner = f"{key}.{name}" if key else str(name)
            yield inner, name
            yield from _leaves(value, inner)
    elif isinstance(node, list):
        for index, item in enumerate(node):
            yield from _leaves(item, f"{key}[{index}]")
    else:
        yield key, node
