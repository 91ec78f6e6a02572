"""Locations: options of a configuration that name a file or a folder, as `Spec.locations` declares them.

A run records them as absolute paths, so that its files are found from any folder. A file is identified by its content, not by
its path: a run may continue with files that have moved if their fingerprints agree.
"""

from __future__ import annotations

import copy
import importlib
import inspect
import pathlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fedlab.archive.arms import arm_configs
from fedlab.archive.differences import compared
from fedlab.archive.folder import relative
from fedlab.archive.manifest import WITHOUT_EFFECT
from fedlab.errors import ConfigError, DataError, did_you_mean
from fedlab.fingerprint import file_fingerprint
from fedlab.moved import present
from fedlab.spec import Spec, is_of_fedlab

# Files of these stages are covered by the fingerprint of the data or of the partition
_IN_FINGERPRINTS = ("data", "partition", "corruption", "filter")

Path = tuple[str, ...]  # from the root of a configuration, a key per level


def absolute(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns `config`, a run's as plain values, with every location as an absolute path."""
    result: dict[str, Any] = copy.deepcopy(dict(config))
    for path, spec in _options(config):
        node = _node(result, path[:-1])
        node[path[-1]] = spec.recorded_location(path[-1], node[path[-1]])
    return result


def keys(*configs: Mapping[str, Any]) -> set[str]:
    """Returns the dotted keys of the locations in any of these configurations, including those of arms."""
    return {".".join(path) for config in configs for path, _ in _options(config)}


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Returns the differences between two runs' configurations, without locations: (dotted key, then, now)."""
    free = keys(then) & keys(now)
    return [row for row in compared(then, now) if row[0].partition(".")[0] not in WITHOUT_EFFECT and row[0] not in free]


def have_moved(then: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Returns True if a file of a run has moved, ignoring files that do not affect any round."""
    free = keys(then) & keys(now)
    rows = compared(absolute(then), absolute(now))
    return any(key in free and key.partition(".")[0] not in WITHOUT_EFFECT for key, _, _ in rows)


def moved(config: Mapping[str, Any], overrides: Sequence[str], verb: str, also: Sequence[str] = ()) -> dict[str, Any]:
    """Returns `config` with new locations, each given as key=path. Raises `ConfigError` for any other override.

    `also`: other words that the command accepts, for the error.
    """
    result, known = absolute(config), keys(config)
    for override in overrides:
        key, equals, value = override.lstrip("+").partition("=")
        if not equals or key not in known:
            shown = ", ".join([*also, *sorted(f"{name}=PATH" for name in known)]) or "nothing"
            raise ConfigError(f"'{override}' does not go with {verb}: it takes {shown}.{did_you_mean(key, known)}")
        _node(result, key.split(".")[:-1])[key.rpartition(".")[2]] = value
    return absolute(result)


def taken_from(other: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """`config` with the locations of `other` wherever both have one."""
    result = absolute(config)
    theirs = absolute(other)
    for key in keys(config) & keys(other):
        *path, option = key.split(".")
        _node(result, path)[option] = _node(theirs, path)[option]
    return result


def without(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns `config` with null for every location."""
    result: dict[str, Any] = copy.deepcopy(dict(config))
    for key in keys(config):
        *path, option = key.split(".")
        _node(result, path)[option] = None
    return result


def fingerprints(config: Mapping[str, Any]) -> dict[str, str]:
    """Returns, by dotted key, the SHA-256 of the files that affect a run's results, except the files of its data."""
    found = {}
    for path, _ in _options(config):
        stage = path[2] if path[0] == "arms" else path[0]
        value = _node(config, path[:-1])[path[-1]]
        if stage in (*WITHOUT_EFFECT, *_IN_FINGERPRINTS) or not isinstance(value, str):
            continue
        file = pathlib.Path(value)
        file = file / "model.keras" if file.is_dir() else file  # a run folder means its model
        if file.is_file():
            found[".".join(path)] = file_fingerprint(file)
    return found


def require_same(run: pathlib.Path, then: Mapping[str, Any], known: Mapping[str, str] | None, now: Mapping[str, Any]) -> None:
    """Raises `DataError` if a file that `run` has read has changed.

    `then`, `now`: its configuration as recorded, and as it continues. `known`: its `fingerprints`; None: an older fedlab recorded
    none, and a file that has moved cannot be compared.
    """
    found = fingerprints(now)
    for key, digest in (known or {}).items():
        if found.get(key) != digest:
            is_now = f"is {found[key][:12]}… now" if key in found else "is no file now"
            raise DataError(
                f"{key} of {relative(run)} has changed: its SHA-256 was {digest[:12]}… and {is_now}. Restore the file, or start "
                "a new run."
            )
    if known is None:
        for key, before, after in compared(absolute(then), now):
            if key in found and before != after:
                raise DataError(
                    f"{key} of {relative(run)} was {before} and is {after} now: an older fedlab made the run and recorded no "
                    f"fingerprint, so fedlab cannot check that it is the same file. Set it back to {before}."
                )


def _options(config: Mapping[str, Any]) -> Iterator[tuple[Path, type[Spec]]]:
    """Yields the path of each location in the configuration, and the class that has this option."""
    yield from _below({key: value for key, value in config.items() if key != "arms"}, ())
    for name, whole in arm_configs(config).items():
        for path, spec in _below(whole, ()):
            if _has(config["arms"][name], path):  # the arm's own option, not the run's
                yield ("arms", name, *path), spec


def _below(node: Any, path: Path) -> Iterator[tuple[Path, type[Spec]]]:
    if not isinstance(node, Mapping):
        return
    spec = component(node.get("_target_"))
    if spec is not None:
        yield from (((*path, option), spec) for option in spec.locations if option in node)
    for name, value in node.items():
        yield from _below(value, (*path, str(name)))


def component(target: Any) -> type[Spec] | None:
    """Returns the class of options that `_target_` names; None if it is no such class or cannot be imported (building reports
    that). Imports modules of fedlab only."""
    if not isinstance(target, str):
        return None
    module, _, name = present(target).rpartition(".")
    try:
        # A user's own module was imported earlier, if the user trusted it
        found = getattr(importlib.import_module(module) if is_of_fedlab(target) else sys.modules.get(module), name, None)
    except (ImportError, ValueError):
        return None
    return found if inspect.isclass(found) and issubclass(found, Spec) else None


def _has(node: Any, path: Path) -> bool:
    for name in path:
        if not isinstance(node, Mapping) or name not in node:
            return False
        node = node[name]
    return True


def _node(config: Any, path: Sequence[str]) -> Any:
    for name in path:
        config = config[name]
    return config
