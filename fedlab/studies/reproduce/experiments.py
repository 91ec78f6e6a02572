"""The scorecard `experiments`: every figure that an experiment file expects (`expect:`) is a row."""

from __future__ import annotations

import pathlib

from fedlab.config import expectations
from fedlab.config.choices import folders
from fedlab.config.expectations import Expectation, Figure
from fedlab.studies.reproduce.rule import Rule
from fedlab.studies.reproduce.scorecard import Row, Scorecard

NAME = "experiments"


def scorecard(own: str | None = None) -> Scorecard:
    """Returns the scorecard of all experiments that expect figures. `own`: a user's configuration folder.

    Raises `ConfigError` for an experiment without expectation, or a wrong one.
    """
    found = folders(own)
    names = {path.relative_to(folder / "experiment").with_suffix("").as_posix() for folder in found for path in _files(folder)}
    rows: dict[str, Row] = {}
    for name in sorted(names):
        rows |= _rows(name, expectations.expected_of(name, own))
    return Scorecard(title="What the experiments expect", paper="Figures that the experiments of fedlab expect", rows=rows)


def _files(folder: pathlib.Path) -> list[pathlib.Path]:
    return sorted((folder / "experiment").rglob("*.yaml"))


def _rows(name: str, expectation: Expectation) -> dict[str, Row]:
    rows = {}
    for i, figure in enumerate(expectation.figures, 1):
        key = "-".join([*name.split("/"), str(i)])
        rows[key] = Row(
            source=f"{name}: {expectation.source or 'measured with fedlab'}",
            paper=figure.value,
            metric=figure.metric,
            round=figure.round,
            experiment=name,
            rule=_rule(figure),
            minutes=expectation.minutes,
        )
    return rows


def _rule(figure: Figure) -> Rule:
    if isinstance(figure.value, str):
        return Rule(equal=figure.value)
    return Rule(within=figure.within, least=figure.least, most=figure.most)
