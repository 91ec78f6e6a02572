"""Reads the configuration folders: choices, default values, and the comments that explain options.

Imports no Hydra: `fedlab train partition=dirichlet --help` reads only these files.
"""

from __future__ import annotations

import dataclasses
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

import fedlab
from fedlab.errors import ConfigError

_OPTION = re.compile(r"\s*([\w.]+):(?:\s.*?)?\s#\s+(.*\S)\s*$")


def config_dir() -> pathlib.Path:
    """Returns the folder of the shipped YAML files: inside the package if installed from a wheel, beside it in a checkout."""
    package = pathlib.Path(fedlab.__file__).parent
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


def folders(own: str | None) -> list[pathlib.Path]:
    """Returns the configuration folders, a user's `own` first, whose files hide shipped ones. Raises `ConfigError` if missing."""
    if own is not None and not pathlib.Path(own).is_dir():
        raise ConfigError(f"-cd {own}: configuration folder '{own}' not found.")
    return [*([pathlib.Path(own).absolute()] if own else []), config_dir()]


def find(name: str, found: Sequence[pathlib.Path]) -> pathlib.Path | None:
    """Returns the file of a choice such as partition/dirichlet from the first folder that has it; None if no folder does."""
    return next((path for folder in found if (path := folder / f"{name}.yaml").is_file()), None)


@dataclasses.dataclass(frozen=True)
class Comments:
    """The comments of one configuration file."""

    heading: str  # the comments above the first option, in one line
    options: Mapping[str, str]  # option → the comment after its value


def comments(path: pathlib.Path) -> Comments:
    """Reads the comments of a configuration file."""
    heading: list[str] = []
    options: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        text = line.strip()
        if text.startswith("#"):
            if not options and "@package" not in text:
                heading.append(text.lstrip("# "))
        elif match := _OPTION.match(line):
            options[match.group(1)] = match.group(2)
        elif text and not options:
            options[text.partition(":")[0]] = ""
    return Comments(" ".join(heading), {name: text for name, text in options.items() if text})


def nodes(group: str, path: pathlib.Path) -> dict[str, dict[str, Any]]:
    """Returns key → options of each node that a choice configures: one node, or one per name in a group such as logger.

    Raises `yaml.YAMLError`.
    """
    content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    found = {group: content, **{f"{group}.{name}": node for name, node in (content.items() if isinstance(content, dict) else ())}}
    return {key: node for key, node in found.items() if isinstance(node, dict) and isinstance(node.get("_target_"), str)}
