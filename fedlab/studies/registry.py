"""The registration of a study, in the `__init__.py` of its folder: names and lines of text, without imports.

`fedlab --help` and tab completion read it, so it imports only this module. `resolved` resolves a reference "module:name" when
it is needed.
"""

from __future__ import annotations

import dataclasses
import pathlib
import pkgutil
from collections.abc import Mapping
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
    # (words, Hydra's flags, console, the configuration composed as that of a single run, or the error, or None) → the exit code
    # of `fedlab train`; None if the words ask for a single run
    train: Reference = ""
    # (`Asked`) → the batches that train what is asked for; None if it is not of this study. Raises `ConfigError` for a mistake
    batches: Reference = ""
    # (folder) → `BatchResult`; None if the folder is not of this study, or its command has not finished
    batch_result: Reference = ""


def resolved(reference: Reference) -> Any:
    """Imports the module of a reference; returns the function or class."""
    return pkgutil.resolve_name(reference)
