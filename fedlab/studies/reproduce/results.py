"""scorecard.json: the rows of a scorecard with their figures and verdicts. `running` writes it.

scorecard_version   2
name, title, paper  of the scorecard
command             as typed; the same command continues, and repeats nothing that has finished
written             the time
rows                {name, source, metric, paper, rule, size, seeds, minutes, note, command, values, mean, deviation, difference,
                    verdict, reason, labels, runs, ended, asked} each: `metric` in words, `figure` its name; `values`: a figure
                    per seed; `deviation`: standard deviation over seeds, null for one; `difference`: mean minus the paper's
                    figure; `verdict`: passed, failed or not run; `runs`: relative folders of runs, sweeps, investigations or
                    computed figures; `labels`: the seed or the kind of each; `ended`: when the last of them ended; `asked`:
                    whether the command asked for the row
"""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
from typing import Any

from fedlab.archive.folder import write_json
from fedlab.archive.lock import RunLock
from fedlab.errors import FedlabError
from fedlab.fingerprint import parsed_json

VERSION = 2
PASSED, FAILED, NOT_RUN = "passed", "failed", "not run"


class CardFolder:
    """The paths of the files of a scorecard, and of its runs."""

    def __init__(self, path: pathlib.Path):
        self.path = path
        self.runs = path / "runs"
        self.table = path / "scorecard.json"
        self.text = path / "scorecard.md"
        self.page = path / "scorecard.html"
        self.lock = path / ".lock"  # locked while its runs are trained


@dataclasses.dataclass(frozen=True)
class CardRow:
    """One row of a scorecard with its result."""

    name: str
    source: str
    figure: str
    metric: str
    paper: float | str | None
    rule: str
    size: str
    seeds: list[int]
    minutes: float
    note: str
    command: str
    values: list[Any]
    mean: float | str | None
    deviation: float | None
    difference: float | None
    verdict: str
    reason: str
    labels: list[str]
    runs: list[str]
    ended: str | None
    asked: bool


@dataclasses.dataclass(frozen=True)
class Card:
    """A scorecard with its results."""

    name: str
    title: str
    paper: str
    command: str
    written: str
    rows: list[CardRow]

    def of(self, verdict: str, asked: bool = False) -> list[CardRow]:
        """Returns the rows with this verdict; if `asked`, only those that the command asked for."""
        return [row for row in self.rows if row.verdict == verdict and (row.asked or not asked)]

    @property
    def passed(self) -> bool:
        """Returns True if every row that was asked for has passed."""
        asked = [row for row in self.rows if row.asked]
        return bool(asked) and all(row.verdict == PASSED for row in asked)

    def write(self, folder: CardFolder) -> None:
        """Writes scorecard.json."""
        write_json(folder.table, {"scorecard_version": VERSION, **dataclasses.asdict(self)})


def is_card(path: pathlib.Path) -> bool:
    """Returns True if `path` is the folder of a scorecard."""
    return CardFolder(path).table.is_file()


def read_card(path: pathlib.Path) -> Card:
    """Reads scorecard.json. Raises `FedlabError` if it is missing, damaged, or of another version."""
    file = CardFolder(path).table
    try:
        content = parsed_json(file.read_text())
        version = content.pop("scorecard_version")
        if version != VERSION:
            raise FedlabError(f"{file} is of version {version}; this fedlab reads version {VERSION}: repeat fedlab reproduce.")
        return Card(**{**content, "rows": [CardRow(**row) for row in content["rows"]]})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FedlabError(f"{file} is damaged ({error}): repeat fedlab reproduce, which writes it.") from error


def runs_in(path: pathlib.Path, stack: contextlib.ExitStack) -> list[pathlib.Path] | None:
    """Returns the folders of a scorecard's runs, locked until `stack` ends; None if `path` is not that of a scorecard."""
    if not is_card(path):
        return None
    folder = CardFolder(path)
    stack.enter_context(RunLock(folder.lock))
    return sorted(manifest.parent for manifest in folder.runs.rglob("manifest.json"))  # also those of sweeps
