"""difftest.csv: the differences of two arms, a row per compared round and client; and a sample of their scores.

After the clients of a round follows a row for all examples, whose client is "(all)".
"""

from __future__ import annotations

import csv
import dataclasses
import io
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from fedlab.archive import RunFolder
from fedlab.archive.tables import GrowingFile, read_rows, write_rows
from fedlab.errors import FedlabError

ALL = "(all)"


def differences_file(folder: RunFolder) -> pathlib.Path:
    """Returns the path of a run's rows."""
    return folder.path / "difftest.csv"


def scores_file(folder: RunFolder) -> pathlib.Path:
    """Returns the path of the sample of scores of a run's last compared round."""
    return folder.path / "difftest_scores.csv"


@dataclasses.dataclass(frozen=True)
class ClientDifference:
    """The metrics of two models, a and b, on one client's examples. `statistics.py` defines each of them."""

    round: int
    client: str
    examples: int
    delta_class: int  # examples whose predicted class differs
    delta_score: int  # examples with a score that differs by more than the tolerance
    largest_score_difference: float
    accuracy_a: float
    accuracy_b: float
    accuracy_difference: float  # b − a
    interval_low: float  # lower end of the interval of the accuracy difference
    interval_high: float
    ks_distance: float
    class_distance: float  # share of predictions that must change for equal class counts
    cramers_v: float
    p_mcnemar: float
    p_ks: float
    p_chi2: float
    p_mcnemar_holm: float
    p_ks_holm: float
    p_chi2_holm: float
    worse: bool  # b is less accurate than a, significantly
    found: str  # the effects that are significant and larger than the tolerance: accuracy, scores, classes
    verdict: str  # equal, different, undecided
    original_delta_score: int
    original_p_ks: float
    original_p_chi2: float

    @property
    def smallest_p(self) -> float:
        """Returns the smallest adjusted p-value of the three tests."""
        return min(self.p_mcnemar_holm, self.p_ks_holm, self.p_chi2_holm)


_FIELDS = dataclasses.fields(ClientDifference)
_READERS: dict[str, Any] = {"int": int, "float": float, "str": str, "bool": {"0": False, "1": True}.__getitem__}


class DifftestFile(GrowingFile):
    """Appends the rows of a round; they are in the file when `append` returns, and on disk when `sync` does."""

    def __init__(self, path: pathlib.Path, rows: Iterable[ClientDifference] = ()):
        """Replaces the content of the file by `rows`, those of an earlier part of the run, and opens it for appending."""
        write_differences(path, rows)
        super().__init__(path)

    def append(self, rows: Iterable[ClientDifference]) -> None:
        text = io.StringIO(newline="")
        csv.writer(text).writerows(map(_cells, rows))
        self._append(text.getvalue())


def write_differences(path: pathlib.Path, rows: Iterable[ClientDifference]) -> None:
    """Replaces `path`."""
    write_rows(path, (field.name for field in _FIELDS), map(_cells, rows))


def read_differences(path: pathlib.Path) -> list[ClientDifference]:
    """Reads the rows of all complete rounds, which end with the row of all clients; [] without a file.

    Raises `FedlabError` if the file is damaged in any other way than an incomplete last round.
    """
    lines = read_rows(path, list)
    whole = max((i + 1 for i, line in enumerate(lines) if line[1:2] == [ALL] and len(line) == len(_FIELDS)), default=0)
    try:
        return [_row(line) for line in lines[:whole]]
    except (ValueError, KeyError, IndexError) as error:
        raise FedlabError(f"{path} is damaged: {error}.") from error


def write_scores(path: pathlib.Path, clients: Sequence[str], a: np.ndarray, b: np.ndarray) -> None:
    """Replaces `path` by a row per example: its client, and the probabilities a and b [n] of its true class."""
    write_rows(path, ("client", "score_a", "score_b"), ((client, f"{x:.6g}", f"{y:.6g}") for client, x, y in zip(clients, a, b)))


def read_scores(path: pathlib.Path) -> list[tuple[str, float, float]]:
    """Reads the rows of `write_scores`; [] without a file. Raises `FedlabError` if it is damaged."""
    return read_rows(path, lambda row: (row[0], float(row[1]), float(row[2])))


def _cells(row: ClientDifference) -> list[Any]:
    values = (getattr(row, field.name) for field in _FIELDS)
    return [int(v) if isinstance(v, bool) else v for v in values]


def _row(cells: Sequence[str]) -> ClientDifference:
    return ClientDifference(*(_READERS[str(field.type)](cell) for field, cell in zip(_FIELDS, cells)))
