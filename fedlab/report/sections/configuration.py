"""The whole configuration, stage by stage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fedlab.archive import Run
from fedlab.archive.differences import flat
from fedlab.report import words
from fedlab.report.section import Section, section

Stage = tuple[str, str, list[tuple[str, str]]]  # name, class, options


def build(run: Run) -> Section | None:
    """Returns the section. Options without a stage come first."""
    alone = [(key, words.setting(value)) for key, value in run.config.items() if not isinstance(value, Mapping)]
    stages = [_stage(key, value) for key, value in run.config.items() if isinstance(value, Mapping) and value]
    return section(
        "configuration", "Configuration", "sections/configuration.html", stages=[("run", "", alone), *stages] if alone else stages
    )


def _stage(name: str, options: Mapping[str, Any]) -> Stage:
    target = str(options.get("_target_", "")).rpartition(".")[2]
    rows = flat({key: value for key, value in options.items() if key != "_target_"})
    return name, target, [words.option(key, value) for key, value in rows.items()]
