"""The registry of studies: `run`, `archive`, `report`, `config` and `cli` ask its functions and know no study by name.

A study is a feature that crosses folders, such as attacks or sweeps. The `__init__.py` of its folder describes it in a `Study`:
names, lines of text, and references "module:name", which `resolved` imports when they are needed. `register` enters it.
`fedlab --help` and tab completion read the registry, so it imports nothing of fedlab and nothing slow.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import pathlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

Reference = str  # "module:name"


@dataclasses.dataclass(frozen=True)
class Verb:
    """A verb of the command line, or an action of one: "data filter"."""

    name: str
    help: str  # its line in `fedlab --help`; for an action, its words in the usage of the verb
    # Has `parser()`, which returns a `fedlab.console.parsing.Parser`, and `main(argv)`, which returns the exit code. Tab
    # completion imports it for the parser, so it imports nothing slow at its top
    module: str
    runs: float = 0  # number of run folders among its first words, for tab completion
    overrides: str | None = None  # accepts overrides that begin with this text, "" for all; None: accepts none
    # (words without flags, the flag whose value is wanted or None, a user's configuration folder or None) → candidates of its
    # own, for tab completion
    completions: Reference = ""

    @property
    def main(self) -> Reference:
        """Returns the reference to its function."""
        return f"{self.module}:main"

    @property
    def parser(self) -> Reference:
        """Returns the reference to the function that returns its parser."""
        return f"{self.module}:parser"

    @property
    def verb(self) -> str:
        """Returns the verb of an action: "data"; else ""."""
        return self.name.rpartition(" ")[0]

    @property
    def action(self) -> str:
        """Returns the name of an action: "filter"."""
        return self.name.rpartition(" ")[2]


@dataclasses.dataclass(frozen=True)
class Stage:
    """A configuration group that this study adds to runs, such as `attack`."""

    name: str
    base: Reference  # the class of options; every choice is an instance of it
    default: Reference  # the class of options for no choice; it has no required options
    common_to_arms: bool = False  # all arms of a run share the choice
    after_training: bool = False  # it changes no round: a run may continue, or be repeated, with another choice


@dataclasses.dataclass(frozen=True)
class Section:
    """A section of a run's page."""

    build: Reference  # (run) → section, or None without content: `fedlab.report.section.Builder`
    of_each_arm: bool = False  # a run with arms has one per arm
    pictures: Reference = ""  # (run folder) → names, without suffix, of the pictures in images/ that this section shows


@dataclasses.dataclass(frozen=True)
class Hooks:
    """Functions that a run calls."""

    # (experiment of a whole run): raises `ConfigError` for options that conflict; called before data is read
    check: Reference = ""
    # (experiment of a run without arms, or of an arm): the same
    check_training: Reference = ""
    # (experiment of a run without arms, or of an arm; dataset): raises `ConfigError` for unusable data; called before training
    check_examples: Reference = ""
    # (experiment, arms, num_rounds, seconds) → `fedlab.run.arms.Observer`, or None without anything to observe. It adds
    # its time in seconds to the phases in `seconds`
    observe_arms: Reference = ""
    # (experiment, inputs, folder, on_line, seconds) → metrics for summary.json, or {}; called after the last round. It adds its
    # time in seconds to the phases in `seconds`
    after_training: Reference = ""


@dataclasses.dataclass(frozen=True)
class Metrics:
    """The format of this study's metrics in pages and in the output of `runs`, `compare` and `train`."""

    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)  # metric → its name in words
    two_decimals: tuple[str, ...] = ()  # prefixes of metrics with two decimals
    line: Reference = ""  # (summary of a run without arms, or of an arm) → the line that `train` prints at the end, or None
    line_of_arms: Reference = ""  # (summary of a run) → the line on its arms together, or None


@dataclasses.dataclass(frozen=True)
class Asked:
    """Overrides that a scorecard asks for, and the figure that it wants of them."""

    overrides: tuple[str, ...]  # of `fedlab train`, without the seed
    seeds: tuple[int, ...]
    metric: str
    config: Mapping[str, Any]  # resolved; of the first run, with the first seed
    several: bool  # whether the overrides, or the experiment, ask for a sweep
    root: pathlib.Path  # a folder for the results
    own: str | None  # a user's configuration folder


@dataclasses.dataclass(frozen=True)
class Batch:
    """A command of a study that trains several runs."""

    kind: str  # in words, such as "sweep"
    words: tuple[str, ...]  # after `fedlab`
    placing: tuple[str, ...]  # further words, which choose the folder
    folder: pathlib.Path
    config: Mapping[str, Any] | None  # resolved, of the first of its runs; None if the runs follow from earlier ones
    alone: bool = False  # whether batches of this kind share files, so that one must end before the next begins


@dataclasses.dataclass(frozen=True)
class BatchResult:
    """The result of a finished command."""

    runs: tuple[pathlib.Path, ...]  # the runs whose metrics are its figures, such as those of the best setting
    figures: Mapping[str, Any]  # figures that no run has, by name
    remark: str = ""  # about the result, in words


@dataclasses.dataclass(frozen=True)
class Study:
    """A feature that crosses folders, with all its parts in `fedlab/studies/NAME`.

    Templates are in its folder templates/ and have the names NAME/FILE.html.
    """

    name: str
    verbs: tuple[Verb, ...] = ()
    stages: tuple[Stage, ...] = ()
    sections: tuple[Section, ...] = ()
    hooks: Hooks = Hooks()
    metrics: Metrics = Metrics()
    phases: Mapping[str, str] = dataclasses.field(default_factory=dict)  # phase in a manifest's `seconds` → in words
    files: Mapping[str, str] = dataclasses.field(default_factory=dict)  # file in a folder → its description
    folders: tuple[str, ...] = ()  # folders of conf/ with files of this study, which are no groups of a run's options
    # Key of a configuration that is not a single run → advice on what to do instead
    instead: Mapping[str, str] = dataclasses.field(default_factory=dict)
    functions: Mapping[str, Reference] = dataclasses.field(default_factory=dict)  # attributes of `fedlab`: name → function, class
    # (folder, exit stack) → the folders of its runs, locked until the stack ends; None if the folder is not of this study
    runs_in: Reference = ""
    # (folder, output or None) → the page that it wrote, and the folders of its runs; None if the folder is not of this study
    page: Reference = ""
    # (words, Hydra's flags, the configuration composed as that of a single run, or the error, or None) → the exit code of
    # `fedlab train`; None if the words ask for a single run
    train: Reference = ""
    # (`Asked`) → the batches that train what is asked for; None if it is not of this study. Raises `ConfigError` for a mistake
    batches: Reference = ""
    # (folder) → `BatchResult`; None if the folder is not of this study, or its command has not finished
    batch_result: Reference = ""


def resolved(reference: Reference) -> Any:
    """Imports the module of a reference; returns the function or class."""
    return pkgutil.resolve_name(reference)


_REGISTERED: dict[str, tuple[Study, pathlib.Path]] = {}  # name → the study and its folder


def register(study: Study, folder: pathlib.Path) -> None:
    """Enters a study and its folder. Studies keep the order in which they are entered."""
    assert study.name not in _REGISTERED, study.name
    _REGISTERED[study.name] = study, folder


def studies() -> tuple[Study, ...]:
    """Returns all studies."""
    return tuple(study for study, _ in _REGISTERED.values())


def verbs() -> tuple[Verb, ...]:
    """Returns the verbs of all studies."""
    return tuple(verb for study in studies() for verb in study.verbs)


def stages() -> tuple[Stage, ...]:
    """Returns the configuration groups of all studies."""
    return tuple(stage for study in studies() for stage in study.stages)


def own_folders() -> set[str]:
    """Returns the folders of a configuration folder that belong to studies, and are no groups of a run's options."""
    return {name for study in studies() for name in study.folders}


def sections() -> tuple[Section, ...]:
    """Returns the report sections of all studies, in the order of the page."""
    return tuple(section for study in studies() for section in study.sections)


def templates() -> dict[str, pathlib.Path]:
    """Returns the template folder of each study, by the prefix of its template names."""
    return {name: folder / "templates" for name, (_, folder) in _REGISTERED.items()}


def hooks(name: str) -> Iterator[Callable[..., Any]]:
    """Yields the hooks of this name of all studies (`Hooks`)."""
    references = [getattr(study.hooks, name) for study in studies()]
    return (resolved(reference) for reference in references if reference)


def functions() -> dict[str, Reference]:
    """Returns references to the functions and classes of all studies for scripts, by their names in `fedlab`."""
    return {name: reference for study in studies() for name, reference in study.functions.items()}


def runs_in(folder: pathlib.Path, stack: contextlib.ExitStack) -> list[pathlib.Path] | None:
    """Returns the run folders of the study in `folder`, locked until `stack` ends; None if it is no study's folder."""
    return _first("runs_in", folder, stack)


def train(words: Sequence[str], flags: argparse.Namespace, composed: Mapping[Any, Any] | Exception | None) -> int | None:
    """Returns the exit code of a `fedlab train` that a study takes over; None if the words ask for a single run.

    `composed`: the configuration of that single run, the error from composing it, or None for flags that ask
    for no single run.
    """
    return _first("train", words, flags, composed)


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
    references = [getattr(study, name) for study in studies()]
    results = (resolved(reference)(*args) for reference in references if reference)
    return next((result for result in results if result is not None), None)
