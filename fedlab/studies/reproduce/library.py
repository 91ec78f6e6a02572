"""`fedlab.reproduce` and `fedlab.open_scorecard`: scorecards for scripts and notebooks. Nothing here prints anything."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import shlex
from collections.abc import Callable, Sequence
from typing import Any

from fedlab import trust as trusting
from fedlab.errors import ConfigError
from fedlab.library import SavedRun, open_run
from fedlab.studies.reproduce.results import Card, CardFolder, CardRow, read_card


@dataclasses.dataclass(frozen=True)
class ScorecardRow:
    """One row of a scorecard with its result.

    `metric`: the name of the figure. `paper`: the paper's figure, None if it has none. `values`: a figure per seed; `mean` and
    `deviation` over them, `difference`: mean minus the paper's figure; None if there is none. `verdict`: passed, failed or not
    run; `reason`: in words. `folders`: of the runs, or of the sweep, the investigation or the computed figures.
    """

    name: str
    source: str
    metric: str
    rule: str
    paper: float | str | None
    values: tuple[Any, ...]
    mean: float | str | None
    deviation: float | None
    difference: float | None
    verdict: str
    reason: str
    folders: tuple[pathlib.Path, ...] = dataclasses.field(repr=False)
    asked: bool = dataclasses.field(repr=False)  # whether the call asked for this row

    def runs(self) -> list[SavedRun]:
        """Returns all runs in its folders, as `fedlab.open_run` does. Raises `FedlabError` for a damaged one."""
        manifests = [path for folder in self.folders for path in sorted(folder.rglob("manifest.json"))]
        return [open_run(path.parent) for path in manifests]


@dataclasses.dataclass(frozen=True)
class SavedScorecard:
    """A scorecard in its folder, at the time of opening. `passed`: whether every row that was asked for has passed."""

    folder: pathlib.Path
    name: str
    title: str
    paper: str
    passed: bool
    rows: tuple[ScorecardRow, ...]
    command: str  # the same on the command line

    def row(self, name: str) -> ScorecardRow:
        """Returns one of its rows. Raises `KeyError` for an unknown name."""
        return {row.name: row for row in self.rows}[name]

    @property
    def page(self) -> pathlib.Path:
        """Returns the path of its page."""
        return CardFolder(self.folder).page

    def __repr__(self) -> str:
        passed = sum(row.verdict == "passed" for row in self.rows)
        return f"<scorecard {self.name}, {passed:,} of {len(self.rows):,} rows passed, in {self.folder}>"


def reproduce(
    name: str,
    *rows: str,
    quick: bool = False,
    jobs: int = 1,
    folder: str | os.PathLike[str] | None = None,
    on_line: Callable[[str], None] | None = None,
    config_dir: str | os.PathLike[str] | None = None,
    trust: bool = False,
) -> SavedScorecard:
    """Runs the rows of a scorecard, as `fedlab reproduce` does, and returns all its rows with their verdicts.

    `name`: a scorecard, such as "mcmahan2017". `rows`: the rows to run, by default all full ones, or all quick ones if `quick`.
    `jobs`: number of runs at a time, at least 1. `folder`: by default reproductions/NAME. The same call continues, and repeats no
    run that has finished. `on_line`, `config_dir`, `trust`: as of `fedlab.run`.

    A row that fails raises nothing. Raises `ConfigError` before the first run for a mistake in the scorecard, `FedlabError` if
    the folder cannot be written or another process works in it.
    """
    if rows and quick:
        raise ConfigError("rows name the rows to run: leave quick out.")
    if isinstance(jobs, bool) or not isinstance(jobs, int) or jobs < 1:
        raise ConfigError(f"jobs={jobs!r} is not a whole number of at least 1.")
    own = os.fspath(config_dir) if config_dir is not None else None
    root = pathlib.Path(folder).expanduser() if folder is not None else None
    from fedlab.studies.reproduce.plan import plan
    from fedlab.studies.reproduce.running import reproduce as run_rows

    with trusting.session(everything=True) if trust else contextlib.nullcontext():
        planned = plan(name, command(name, quick, rows, root, own), quick, rows, root, own)
        return _saved(run_rows(planned, on_line or _nowhere, jobs), planned.folder)


def command(name: str, quick: bool, rows: Sequence[str], root: pathlib.Path | None, own: str | None) -> str:
    """Returns the command that runs these rows."""
    flags = [*(["--quick"] if quick else []), *(word for row in rows for word in ("--row", row))]
    flags += ["-cd", own] if own else []
    flags += ["--out", str(root)] if root else []
    return shlex.join(["fedlab", "reproduce", name, *flags])


def open_scorecard(path: str | os.PathLike[str]) -> SavedScorecard:
    """Opens the scorecard in the folder `path`, from Python or from `fedlab reproduce`. Imports no TensorFlow.

    Raises `FedlabError` if there is none, or it is damaged.
    """
    folder = CardFolder(pathlib.Path(path).expanduser())
    return _saved(read_card(folder.path), folder)


def _saved(card: Card, folder: CardFolder) -> SavedScorecard:
    rows = tuple(_row(row, folder) for row in card.rows)
    return SavedScorecard(folder.path, card.name, card.title, card.paper, card.passed, rows, card.command)


def _row(row: CardRow, folder: CardFolder) -> ScorecardRow:
    return ScorecardRow(
        name=row.name,
        source=row.source,
        metric=row.figure,
        rule=row.rule,
        paper=row.paper,
        values=tuple(row.values),
        mean=row.mean,
        deviation=row.deviation,
        difference=row.difference,
        verdict=row.verdict,
        reason=row.reason,
        folders=tuple(folder.path / run for run in row.runs),
        asked=row.asked,
    )


def _nowhere(line: str) -> None:
    """Discards a line."""
