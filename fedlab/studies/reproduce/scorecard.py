"""Scorecards in conf/reproduce/NAME.yaml: the rows, with the paper's figures and the rules, fixed before any run.

title: Rounds to a target accuracy on MNIST
paper: McMahan et al. 2017
rows:
  2nn_iid:
    source: table 1, 2NN, C = 0.1, IID
    paper: 87
    metric: rounds_to[0.97]
    experiment: mnist/2nn_iid
    overrides: [num_rounds=104]
    seeds: [0, 1, 2]
    rule: {as_good: lower, slack: 17}
    minutes: 2
  epsilon:
    source: section 5
    paper: 1.26
    metric: epsilon
    verb: privacy --examples 60000 --batch 600 --epochs 100 --noise 4 --delta 1e-5
    rule: {within: 0.01}
    minutes: 0.1
"""

from __future__ import annotations

import pathlib
import re
import shlex
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import pydantic
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from fedlab.config import experiment_files
from fedlab.config.choices import folders
from fedlab.errors import ConfigError, did_you_mean
from fedlab.spec import Spec
from fedlab.studies.reproduce.rule import Rule
from fedlab.targets import is_named, target_in

FOLDER = "reproduce"  # in a configuration folder
Size = Literal["full", "quick", "both"]


class Row(Spec):
    """One row of a scorecard.

    `source`: table and row of the paper. `paper`: its figure, in the units of `metric` (an accuracy is a fraction); None: it has
    none. `metric`: a name in summary.json; ARM/NAME of an arm; rounds_to[TARGET]. `at`: the final figure, or the highest or the
    lowest of all rounds; `round`: that of a round instead. `experiment`, `overrides`, `seeds`: the runs, one per seed; a sweep,
    whose best setting counts; or an investigation per seed, which also has the metrics verdict, found and ARM/SYMPTOM. `verb`:
    instead, the words of a verb that prints figures with --json; `metric` is the name of one. `size`: "quick" rows run with
    --quick, "full" rows without, "both" always. `minutes`: on two cores, for all seeds. `note`: an explanation.
    """

    source: str
    paper: float | str | None = None
    metric: str
    at: Literal["final", "highest", "lowest"] = "final"
    round: PositiveInt | None = None
    experiment: str | None = None
    verb: str | None = None
    overrides: tuple[str, ...] = ()
    seeds: tuple[NonNegativeInt, ...] = Field((0,), min_length=1)
    rule: Rule
    size: Size = "full"
    minutes: PositiveFloat
    note: str = ""

    @model_validator(mode="after")
    def _can_have_a_verdict(self) -> Row:
        if (self.experiment is None) == (self.verb is None):
            raise ValueError("give either experiment or verb")
        if self.verb is not None:
            self._check_verb()
        if self.rule.needs_paper and not isinstance(self.paper, float):
            raise ValueError("its rule compares with the paper's figure: give paper as a number")
        if self.rule.confidence is not None and len(self.seeds) < 2:
            raise ValueError("an interval over seeds needs at least two seeds")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("it names a seed twice")
        if is_named(self.metric) and target_in(self.metric) is None:
            raise ValueError(f"{self.metric} names no number: write rounds_to[0.97]")
        if (self.at != "final") + (self.round is not None) + is_named(self.metric) > 1:
            raise ValueError("give at or round, and neither with rounds_to[TARGET]")
        return self

    def _check_verb(self) -> None:
        try:
            words = shlex.split(self.verb or "")
        except ValueError as error:
            raise ValueError(f"verb: {error}") from error
        if not words or "--json" in words:
            raise ValueError("verb contains the words after fedlab, without --json")
        given = [name for name in ("overrides", "seeds", "round", "at") if name in self.model_fields_set]
        if given or is_named(self.metric):
            raise ValueError(f"{given[0] if given else self.metric} goes with experiment, and not with verb")

    def is_asked_for(self, quick: bool) -> bool:
        """Returns True if the row runs with --quick, or without."""
        return self.size == "both" or (self.size == "quick") == quick


class Scorecard(Spec):
    """The rows of one scorecard, by their names. `paper`: the paper, or the papers, that it reproduces."""

    title: str
    paper: str
    rows: dict[str, Row] = Field(min_length=1)

    @model_validator(mode="after")
    def _rows_are_there(self) -> Scorecard:
        for name, row in self.rows.items():
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
                raise ValueError(f"row {name}: a name consists of letters, digits, - and _")
            other = row.rule.other
            if other is not None and (other not in self.rows or other == name):
                raise ValueError(f"row {name} is compared with {other}, which is no other row.{did_you_mean(other, self.rows)}")
        return self

    def of_size(self, quick: bool) -> list[str]:
        """Returns the rows that run with --quick, or without."""
        return [name for name, row in self.rows.items() if row.is_asked_for(quick)]

    def asked_for(self, quick: bool, names: Sequence[str] = ()) -> list[str]:
        """Returns the rows to run, in the order of the file: `names`, or all of this size; and the rows that rules compare with.

        Raises `ConfigError` for an unknown name, and if no row has this size.
        """
        for name in names:
            if name not in self.rows:
                raise ConfigError(f"no row '{name}'.{did_you_mean(name, self.rows)} Rows: {', '.join(self.rows)}.")
        wanted = set(names or self.of_size(quick))
        if not wanted:
            raise ConfigError(
                "it has quick rows only: give --quick." if not quick else "it has no quick rows: leave --quick out."
            )
        todo = list(wanted)
        while todo:
            other = self.rows[todo.pop()].rule.other
            if other is not None and other not in wanted:
                wanted.add(other)
                todo.append(other)
        return [name for name in self.rows if name in wanted]

    def minutes(self, names: Iterable[str]) -> float:
        """Returns the total duration of these rows, on two cores. Rows with equal runs share them."""
        rows = [self.rows[name] for name in names]
        return sum({(row.experiment, row.verb, row.overrides, row.seeds): row.minutes for row in rows}.values())


def names(own: str | None = None) -> list[str]:
    """Returns the names of all scorecards with a file, sorted. `own`: a user's configuration folder."""
    return sorted(_files(own))


def _files(own: str | None) -> dict[str, pathlib.Path]:
    found: dict[str, pathlib.Path] = {}
    for folder in reversed(folders(own)):  # a user's files hide shipped ones
        root = folder / FOLDER
        found |= {path.relative_to(root).with_suffix("").as_posix(): path for path in root.rglob("*.yaml")}
    return found


def read(name: str, own: str | None = None) -> Scorecard:
    """Returns the scorecard `name`. `own`: a user's configuration folder. Raises `ConfigError` for a mistake anywhere in it."""
    paths = _files(own)
    if name not in paths:
        raise ConfigError(f"no scorecard '{name}'.{did_you_mean(name, paths)} Scorecards: {', '.join(sorted(paths))}.")
    content: dict[str, Any] = experiment_files.load(paths[name])
    try:
        return Scorecard(**content)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        reason = first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"scorecard {name}: {where}: {reason}." if where else f"scorecard {name}: {reason}.") from error
