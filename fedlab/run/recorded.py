"""Reads configurations from run folders, which may come from other people (docs/security.md)."""

from __future__ import annotations

import importlib
import importlib.util
import os
import pathlib
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib.machinery import ModuleSpec
from typing import Any

from fedlab import trust
from fedlab.errors import FedlabError
from fedlab.fingerprint import file_fingerprint
from fedlab.run.locations import component
from fedlab.spec import is_of_fedlab


def trusted(config: Any, where: pathlib.Path, code: Any = None) -> dict[str, Any]:
    """Returns the configuration that was read from `where`, ready to build.

    `code`: the manifest's entry of that name, see `code_folder`: the user's own components are imported from this folder from now
    on. This function imports only fedlab. Raises `NotTrusted` if the configuration names code outside of fedlab that the user has
    not agreed to run, and `FedlabError` if fedlab has not written it.
    """
    if not isinstance(config, Mapping):
        raise FedlabError(f"{where} is damaged: its manifest has no configuration.")
    for key, value in _leaves(config):
        if isinstance(value, str) and "${" in value:  # a recorded configuration is resolved; this would read the environment
            raise FedlabError(f"{where} is damaged: {key} is an interpolation and not a value, and fedlab records only values.")
    trust.require(str(where), findings(config, code))
    if isinstance(code, str):
        _find_code(code, where, _own_modules(config))
    return dict(config)


def findings(config: Any, code: Any = None) -> list[str]:
    """Returns, as key=value, the options of a configuration that name code outside of fedlab or a server to write to.

    `code`: a folder that is searched for the code, in addition to the current one.
    """
    return [f"{text} in {code}" if code is not None and module else text for text, module in _findings(config, "")]


def code_folder(config: Any) -> str | None:
    """Returns the current folder if a user's own components in a configuration were imported from it; else None."""
    here = pathlib.Path.cwd()
    found = [sys.modules.get(module) for module in _own_modules(config)]
    files = [file for module in found if module is not None for file in _files_of(module.__spec__)]
    return str(here) if any(here in file.parents for file in files) else None


def own_code(config: Any) -> dict[str, str]:
    """Returns 16 digits of the SHA-256 of the file of each imported module that a configuration names outside of fedlab."""
    targets = [value for _, value in _leaves(config) if isinstance(value, str)]
    names = {name for name in (target.rpartition(".")[0] for target in targets) if name.partition(".")[0] in _own_modules(config)}
    files = {name: getattr(sys.modules.get(name), "__file__", None) for name in sorted(names)}
    return {name: file_fingerprint(pathlib.Path(path))[:16] for name, path in files.items() if path and os.path.isfile(path)}


def _own_modules(config: Any) -> set[str]:
    return {module for _, module in _findings(config, "") if module}


def _find_code(code: str, where: pathlib.Path, modules: Iterable[str]) -> None:
    """Makes modules in the folder `code` importable, after all others. Raises `FedlabError` if another module of that name comes
    first."""
    folder, there = pathlib.Path(code), []
    for module in modules:
        if (folder / f"{module}.py").is_file() or (folder / module).is_dir():
            there.append(module)
    if not there:  # it has moved, perhaps to the current folder
        return
    if code not in sys.path:
        sys.path.append(code)
    for module in there:
        try:
            files = _files_of(importlib.util.find_spec(module))
        except ValueError:  # a module without a spec
            continue
        if files and not any(folder.resolve() in file.resolve().parents for file in files):
            raise FedlabError(
                f"{where} uses {module} from {code}, but Python finds {files[0]} first, which may be another module: rename it, "
                "or start fedlab in another folder."
            )


def _files_of(spec: ModuleSpec | None) -> list[pathlib.Path]:
    """Returns the file of a module, or the folders of a package."""
    if spec is None:
        return []
    origin = [spec.origin] if spec.has_location and spec.origin else list(spec.submodule_search_locations or [])
    return [pathlib.Path(path) for path in origin]


def _findings(node: Any, key: str) -> Iterator[tuple[str, str | None]]:
    """Yields each finding in words, with the module of the code; None for an option that names no code."""
    if isinstance(node, list):
        for index, item in enumerate(node):
            yield from _findings(item, f"{key}[{index}]")
    if not isinstance(node, Mapping):
        return
    if "_target_" in node:
        target = node["_target_"]
        if not isinstance(target, str) or not is_of_fedlab(target):
            yield _named(key, "_target_", target), str(target).partition(".")[0]
        else:
            spec = component(target)
            for option in spec.reaches_out if spec else ():
                if node.get(option) is not None:
                    module = None if spec and option in spec.locations else str(node[option]).partition(".")[0]
                    yield _named(key, option, node[option]), module
    for name, value in node.items():
        yield from _findings(value, f"{key}.{name}" if key else str(name))


def _named(key: str, option: str, value: Any) -> str:
    return f"{key}.{option}={value}" if key else f"{option}={value}"


def _leaves(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yields the values and keys of a nested configuration, each with its dotted key."""
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
