"""The figures that an experiment file expects (`expect:`), and their comparison with a finished run.

    expect:
      minutes: 0.7  # on two cores
      figures:
        - {metric: test_accuracy, value: 0.979, within: 0.005}
        - {metric: test_accuracy, round: 50, least: 0.97}
        - {metric: "rounds_to[0.97]", value: 50, within: 15}
        - {metric: difftest_verdict, value: equal}

An expectation belongs to the file in which it stands, not to files based on it, and to the seed of the file. It is no option of a
run: Hydra composes it (`--cfg job` prints it), but no run is built from it or records it.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

import pydantic
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from fedlab.archive import Run
from fedlab.archive.differences import compared
from fedlab.archive.figures import rounds_to_of
from fedlab.config import bounds, composing, experiment_files
from fedlab.config.choices import find, folders
from fedlab.errors import ConfigError
from fedlab.registry import studies
from fedlab.run import locations
from fedlab.spec import Spec
from fedlab.targets import is_named, named, target_in

EXIT_CODE = 4  # of a run that misses what its experiment expects
_MOST_SHOWN = 3  # differences
# Options that change no computed round, but figures
_ALSO_DECIDE = (
    *("num_rounds", "stop"),
    *(stage.name for study in studies() if study.hooks.after_training for stage in study.stages),
)


class Figure(Spec):
    """One expected figure: a `value` within a tolerance, or bounds.

    `metric`: a name in summary.json; ARM/NAME of an arm; rounds_to[TARGET]. With `round`, a name in metrics.jsonl. `value`: a
    number with its tolerance `within` (absolute, at least 0), or a text that must be equal. `least`, `most`: inclusive bounds.
    """

    metric: str
    value: float | str | None = None
    within: NonNegativeFloat | None = None
    least: float | None = None
    most: float | None = None
    round: PositiveInt | None = None

    @model_validator(mode="after")
    def _says_one_thing(self) -> Figure:
        bounded = self.least is not None or self.most is not None
        if bounded == (self.value is not None):
            raise ValueError(f"{self.metric}: give either a value, or least and most")
        if isinstance(self.value, float) != (self.within is not None):
            raise ValueError(f"{self.metric}: a number needs its tolerance, within, and nothing else has one")
        if self.round is not None and is_named(self.metric):
            raise ValueError(f"{self.metric} is a figure of all rounds: leave round={self.round} out")
        return self

    @property
    def name(self) -> str:
        """Returns the metric with its round."""
        return f"{self.metric} in round {self.round:,}" if self.round else self.metric

    @property
    def wanted(self) -> str:
        """Returns the expectation in words."""
        if self.value is not None:
            return f"{self.value:g} ± {self.within:g}" if isinstance(self.value, float) else self.value
        return bounds.in_words(self.least, self.most)

    def holds(self, found: Any) -> bool:
        """Returns True if a figure of a run is as expected."""
        if isinstance(self.value, str):
            return found == self.value
        if not bounds.is_number(found):
            return False
        if isinstance(self.value, float):
            assert self.within is not None
            return bounds.is_within(found, self.value, self.within)
        return bounds.is_between(found, self.least, self.most)

    def of(self, run: Run) -> Any:
        """Returns the figure in a finished run; None if the run has none, or has not reached a target."""
        return figure_of(run, self.metric, self.round)


def figure_of(run: Run, metric: str, round_num: int | None = None) -> Any:
    """Returns the figure `metric` of a finished run; None if the run has none, or has not reached a target.

    `metric`: a name in summary.json; ARM/NAME of an arm; rounds_to[TARGET]. With `round_num`, a name in metrics.jsonl.
    """
    arm = metric.rpartition("/")[0]
    target = target_in(metric)
    if target is not None:
        return rounds_to_of(run.arm(arm) if arm else run, [target])[named(target)]
    if round_num is None:
        return run.summary.get(metric)
    return next((record.get(metric) for record in run.records() if record["round"] == round_num), None)


class Expectation(Spec):
    """The figures that an experiment file expects of its run. `minutes`: on two cores. `unmeasured`: why there are no figures."""

    minutes: PositiveFloat
    figures: tuple[Figure, ...] = ()
    source: str | None = None  # of the figures, such as a paper; None: measured with fedlab
    unmeasured: str | None = None

    @model_validator(mode="after")
    def _has_figures_or_a_reason(self) -> Expectation:
        if bool(self.figures) == bool(self.unmeasured):
            raise ValueError("give figures, or say with unmeasured why there are none")
        return self

    def compared(self, run: Run) -> list[tuple[Figure, Any, bool]]:
        """Returns each expected figure, the figure of `run`, and whether it is as expected."""
        found = [(figure, figure.of(run)) for figure in self.figures]
        return [(figure, value, figure.holds(value)) for figure, value in found]


def expected_of(name: str, own: str | None = None) -> Expectation:
    """Returns what the file of experiment `name` expects. `own`: a user's configuration folder. Raises `ConfigError`."""
    path = find(f"experiment/{name}", folders(own))
    if path is None:
        raise ConfigError(f"no experiment {name}.")
    given = experiment_files.load(path).get("expect")
    if not isinstance(given, Mapping):
        raise ConfigError(f"{path.name}: experiment {name} expects nothing: add expect: with minutes and figures to it.")
    try:
        return Expectation(**{str(key): value for key, value in given.items()})
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, ("expect", *first["loc"])))
        raise ConfigError(f"experiment {name}: {where}: {first['msg'].removeprefix('Value error, ')}.") from error


def applicable(overrides: Sequence[str], own: str | None = None) -> Expectation:
    """Returns the expectation of the experiment that `overrides` choose. `own`: a user's configuration folder.

    Raises `ConfigError` if they choose none, if it has no figures, or if other overrides change the experiment, or files in `own`
    that hide shipped ones: what is expected of it does not apply then. New places of files, loggers and checkpoints change
    nothing.
    """
    chosen = [word.partition("=")[2] for word in overrides if word.lstrip("+").partition("=")[0] == "experiment"]
    if len(chosen) != 1 or "," in chosen[0]:
        raise ConfigError("--expect compares a run with the figures of its experiment: choose one with +experiment=NAME.")
    name = chosen[0]
    expectation = expected_of(name, own)
    if expectation.unmeasured:
        raise ConfigError(f"--expect: no figures are expected of {name}: {expectation.unmeasured}.")
    shipped = find(f"experiment/{name}", folders(own)) == find(f"experiment/{name}", folders(None))
    alone = _plain([f"+experiment={name}"], None if shipped else own)  # a user's folder may hide files of a shipped experiment
    changed = _plain(overrides, own)
    for remedy in (remedy for study in studies() for key, remedy in study.instead.items() if key in alone):
        raise ConfigError(f"--expect compares single runs. {name}: {remedy}")
    rows = locations.differences(alone, changed)
    rows += [row for row in compared(alone, changed) if row[0].partition(".")[0] in _ALSO_DECIDE]
    if rows:
        shown = "; ".join(f"{key} is {before} there, {after} here" for key, before, after in rows[:_MOST_SHOWN])
        more = f"; {len(rows) - _MOST_SHOWN} more options differ" if len(rows) > _MOST_SHOWN else ""
        raise ConfigError(f"--expect: the figures are those of {name} unchanged, and do not apply: {shown}{more}.")
    return expectation


def _plain(overrides: Sequence[str], own: str | None) -> dict[str, Any]:
    found, is_sweep = composing.compose_any(overrides, own)
    if is_sweep:
        raise ConfigError("--expect compares single runs, and this is a sweep: leave --expect out.")
    return locations.absolute(found.config)


def requested(args: argparse.Namespace) -> Expectation:
    """Returns the expectation that --expect compares a run with. `args`: the parsed words of `fedlab train`.

    Raises `ConfigError` for words that train another run than the experiment, or none.
    """
    if args.multirun or args.cfg or args.info:
        raise ConfigError("--expect compares a single run: leave -m, --cfg and --info out.")
    if args.config_name not in (None, "train"):
        raise ConfigError(f"--expect: the figures are those of train.yaml: leave --config-name {args.config_name} out.")
    return applicable(args.overrides, args.config_dir)


def outcome(expectation: Expectation, run: Run) -> tuple[list[str], str | None]:
    """Returns a line per expected figure, and one line with those that `run` misses; None if it misses none."""
    rows = expectation.compared(run)
    lines = [
        f"expected: {figure.name} {figure.wanted}; here: {_shown(found)}, {'as expected' if holds else 'missed'}"
        for figure, found, holds in rows
    ]
    missed = [f"{figure.name} is {_shown(found)}, expected {figure.wanted}" for figure, found, holds in rows if not holds]
    return lines, f"missed {len(missed)} of {len(rows)} expected figures: {'; '.join(missed)}" if missed else None


def _shown(value: Any) -> str:
    return "not there" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
