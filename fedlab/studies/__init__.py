"""Studies: features that cross folders, each a folder with its options, computing, record, report section and verb side by side.

`run`, `archive`, `report`, `config` and `cli` ask the functions below and know no study by name. To add a study, write its
folder, whose `__init__.py` holds a `STUDY`, and add a row to `STUDIES`. Imports nothing slow.
"""

from __future__ import annotations

import argparse
import contextlib
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from fedlab.studies import attacks, difftest, investigate, reproduce, sweep
from fedlab.studies.registry import Asked, Batch, BatchResult, Reference, Section, Stage, Study, Verb, resolved

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from rich.console import Console

STUDIES: tuple[Study, ...] = (difftest.STUDY, attacks.STUDY, investigate.STUDY, sweep.STUDY, reproduce.STUDY)


def verbs() -> tuple[Verb, ...]:
    """Returns the verbs of all studies."""
    return tuple(verb for study in STUDIES for verb in study.verbs)


def stages() -> tuple[Stage, ...]:
    """Returns the configuration groups of all studies."""
    return tuple(stage for study in STUDIES for stage in study.stages)


def own_folders() -> set[str]:
    """Returns the folders of a configuration folder that belong to studies, and are no groups of a run's options."""
    return {name for study in STUDIES for name in study.folders}


def sections() -> tuple[Section, ...]:
    """Returns the report sections of all studies, in the order of the page."""
    return tuple(section for study in STUDIES for section in study.sections)


def templates() -> dict[str, pathlib.Path]:
    """Returns the template folder of each study, by the prefix of its template names."""
    here = pathlib.Path(__file__).parent
    return {study.name: here / study.name / "templates" for study in STUDIES}


def hooks(name: str) -> Iterator[Callable[..., Any]]:
    """Yields the hooks of this name of all studies (`fedlab.studies.registry.Hooks`)."""
    references = [getattr(study.hooks, name) for study in STUDIES]
    return (resolved(reference) for reference in references if reference)


def functions() -> dict[str, Reference]:
    """Returns references to the functions and classes of all studies for scripts, by their names in `fedlab`."""
    return {name: reference for study in STUDIES for name, reference in study.functions.items()}


def runs_in(folder: pathlib.Path, stack: contextlib.ExitStack) -> list[pathlib.Path] | None:
    """Returns the run folders of the study in `folder`, locked until `stack` ends; None if it is no study's folder."""
    return _first("runs_in", folder, stack)


def train(
    words: Sequence[str], flags: argparse.Namespace, console: Console, composed: DictConfig | Exception | None
) -> int | None:
    """Returns the exit code of a `fedlab train` that a study takes over; None if the words ask for a single run.

    `composed`: the configuration of that single run, the error from composing it, or None for flags that ask for no single run.
    """
    return _first("train", words, flags, console, composed)


def page(folder: pathlib.Path, output: pathlib.Path | None) -> tuple[pathlib.Path, list[pathlib.Path]] | None:
    """Writes the page of the study in `folder`. Returns the page and the run folders; None if it is no study's folder."""
    return _first("page", folder, output)


def batches(asked: Asked) -> tuple[Batch, ...] | None:
    """Returns the batches of the study that trains what is asked for; None if it is a single run. Raises `ConfigError`."""
    return _first("batches", asked)


def batch_result(folder: pathlib.Path) -> BatchResult | None:
    """Returns the result of the batch in `folder`; None if it has not finished."""
    return _first("batch_result", folder)


def _first(name: str, *args: Any) -> Any:
    """Calls the functions of this name of all studies in turn; returns the first result that is not None."""
    references = [getattr(study, name) for study in STUDIES]
    results = (resolved(reference)(*args) for reference in references if reference)
    return next((result for result in results if result is not None), None)
