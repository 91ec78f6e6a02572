"""The page of `fedlab train --help`. Hydra's own page would load every file of every group, and take seconds."""

from __future__ import annotations

import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from omegaconf import OmegaConf

from fedlab.config import choices
from fedlab.config import composing as configuration

HEAD = """\
fedlab train composes a configuration, trains the federated model it describes, and writes a folder for the run.

Groups and their choices (choose with group=choice):
"""
SETTINGS = """\
Configuration (set with key=value, such as num_rounds=20 or client.batch_size=10; for types, ranges and defaults of a
choice's options: fedlab train GROUP=CHOICE --help):"""
FOOT = """\
Examples:
  fedlab train +experiment=digits/fedavg                       an experiment
  fedlab train model=cnn partition=shards num_rounds=20        choose by group, set by key
  fedlab train -m partition=dirichlet partition.alpha=0.1,1,10 a sweep; hydra/sweeper=optuna searches
  fedlab train resume=outputs/RUN                              go on with a run that was stopped
  fedlab train resume=outputs/RUN num_rounds=100               add rounds to one that has finished
  fedlab train resume=RUN --trust                              the same, where the run has components that are not fedlab's
  fedlab train partition=dirichlet --help                      the options of a choice: types, ranges, defaults
  fedlab train --cfg job                                       print the configuration, run nothing
  fedlab train -cd my_conf +experiment=mine                    with your own configuration folder
  fedlab train +experiment=digits/fedavg --expect              exit code 4 if it misses the figures in the experiment's file
  fedlab train --quiet …                                       no progress display
  fedlab train --hydra-help                                    Hydra's own flags"""


def page(overrides: Sequence[str], own: str | None) -> str:
    """Returns the page with the configuration that `overrides` compose. `own`: a user's folder. Raises `ConfigError`."""
    catalogue = configuration.catalogue(["-cd", own] if own else [])
    groups: dict[str, list[str]] = {}
    for group in catalogue.groups():
        for choice in catalogue.choices(group):
            folder, _, name = choice.rpartition("/")
            groups.setdefault(f"{group}/{folder}" if folder else group, []).append(name)
    lines = [f"{group}: {', '.join(names)}" for group, names in sorted(groups.items())]
    config, chosen = configuration.compose_with_choices(overrides, own)
    settings: Any = OmegaConf.to_container(config)
    found = choices.folders(own)
    lines += ["", SETTINGS, "", *_run(settings, found)]
    for stage, options in settings.items():
        if isinstance(options, dict) and options:
            lines += _stage(stage, options, chosen.get(stage), found)
    return "\n".join([HEAD, *lines, "", FOOT])


def _run(settings: Mapping[str, Any], found: Sequence[pathlib.Path]) -> list[str]:
    """Returns the lines of the options of the run itself."""
    path = choices.find("train", found)
    explained = choices.comments(path).options if path else {}
    return [_line("", key, value, explained) for key, value in settings.items() if not isinstance(value, dict) or not value]


def _stage(stage: str, options: Mapping[str, Any], chosen: Any, found: Sequence[pathlib.Path]) -> list[str]:
    """Returns the lines of one stage: its choice, then its options."""
    names = [name.strip() for name in str(chosen or "").strip("[]").replace("'", "").split(",") if name.strip()]
    paths = [path for name in names if (path := choices.find(f"{stage}/{name}", found))]
    comments = [choices.comments(path) for path in paths]
    headings = "; ".join(f"{name}: {c.heading}" if c.heading else name for name, c in zip(names, comments))
    lines = [f"{stage}:" + (f"  # {headings}" if headings else "")]
    explained = {key: text for c in comments for key, text in c.options.items()}
    return lines + _below("  ", options, explained)


def _below(indent: str, options: Mapping[str, Any], explained: Mapping[str, str]) -> list[str]:
    lines = []
    for key, value in options.items():
        if isinstance(value, dict) and value.keys() - {"_target_"}:
            lines += [f"{indent}{key}:", *_below(indent + "  ", value, explained)]
        elif key != "_target_":
            lines.append(f"{indent}{key}: {{}}" if isinstance(value, dict) else _line(indent, key, value, explained))
    return lines


def _line(indent: str, key: str, value: Any, explained: Mapping[str, str]) -> str:
    """Returns one option as in a YAML file, with the comment that explains it."""
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=math.inf).removesuffix("...\n").strip()
    return f"{indent}{key}: {text}" + (f"  # {explained[key]}" if key in explained else "")
