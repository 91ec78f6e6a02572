"""difftest.csv: how two arms of a run differ, a row per compared round and client; and a sample of their scores.

After the clients of a round comes a row for all of their examples together, whose client is "(all)".
"""

from __future__ import annotations

import csv
import dataclasses
import io
import os
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from fedlab.archive.folder import replacing
from fedlab.errors import FedlabError

ALL = "(all)"


@dataclasses.dataclass(frozen=True)
class ClientDifference:
    """What two models, a and b, make of one client's examples. `fedlab.difftest` says how each figure is defined."""

    round: int
    client: str
    examples: int
    delta_class: int  # examples whose predicted class differs
    delta_score: int  # examples of which a score differs beyond the tolerance
    largest_score_difference: float
    accuracy_a: float
    accuracy_b: float
    accuracy_difference: float  # b − a
    interval_low: float  # of the accuracy difference
    interval_high: float
    ks_distance: float
    class_distance: float  # share of the predictions that would have to change for equally many of each class
    cramers_v: float
    p_mcnemar: float
    p_ks: float
    p_chi2: float
    p_mcnemar_holm: float
    p_ks_holm: float
    p_chi2_holm: float
    worse: bool  # b is less accurate than a, significantly
    found: str  # which effects are both significant and larger than the tolerance: accuracy, scores, classes
    verdict: str  # equal, different, undecided
    original_delta_score: int
    original_p_ks: float
    original_p_chi2: float


_FIELDS = dataclasses.fields(ClientDifference)
_READERS: dict[str, Any] = {"int": int, "float": float, "str": str, "bool": {"0": False, "1": True}.__getitem__}


class DifftestFile:
    """Appends the rows of a round; they are in the file when `append` returns, and on disk when `sync` does."""

    def __init__(self, path: pathlib.Path, rows: Iterable[ClientDifference] = ()):
        """Goes on after `rows`, those to keep of an earlier part of the run. Whatever else the file holds is removed."""
        write_differences(path, rows)
        self._file = open(path, "a", newline="")  # noqa: SIM115  (closed by `close`)

    def append(self, rows: Iterable[ClientDifference]) -> None:
        text = io.StringIO(newline="")
        csv.writer(text).writerows(map(_cells, rows))
        self._file.write(text.getvalue())
        self._file.flush()

    def sync(self) -> None:
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def write_differences(path: pathlib.Path, rows: Iterable[ClientDifference]) -> None:
    """Replaces `path`."""
    with replacing(path) as partial, open(partial, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(field.name for field in _FIELDS)
        writer.writerows(map(_cells, rows))


def read_differences(path: pathlib.Path) -> list[ClientDifference]:
    """The rows of all rounds that are whole, which end with the row of all clients; [] without a file.

    Raises `FedlabError` where the file is damaged other than by a last round that was not written to its end.
    """
    try:
        with open(path, newline="") as file:
            lines = list(csv.reader(file))[1:]
    except FileNotFoundError:
        return []
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise FedlabError(f"{path} cannot be read: {error}.") from error
    whole = max((i + 1 for i, line in enumerate(lines) if line[1:2] == [ALL] and len(line) == len(_FIELDS)), default=0)
    try:
        return [_row(line) for line in lines[:whole]]
    except (ValueError, KeyError, IndexError) as error:
        raise FedlabError(f"{path} is damaged: {error}.") from error


def write_scores(path: pathlib.Path, clients: Sequence[str], a: np.ndarray, b: np.ndarray) -> None:
    """Replaces `path` by a row per example: its client, and the probability that a and b [n] give its true class."""
    with replacing(path) as partial, open(partial, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("client", "score_a", "score_b"))
        writer.writerows((client, f"{x:.6g}", f"{y:.6g}") for client, x, y in zip(clients, a, b))


def read_scores(path: pathlib.Path) -> list[tuple[str, float, float]]:
    """What `write_scores` wrote; [] without a file. Raises `FedlabError` where it is damaged."""
    try:
        with open(path, newline="") as file:
            return [(row[0], float(row[1]), float(row[2])) for row in list(csv.reader(file))[1:]]
    except FileNotFoundError:
        return []
    except (OSError, csv.Error, ValueError, IndexError) as error:
        raise FedlabError(f"{path} is damaged: {error}.") from error


def _cells(row: ClientDifference) -> list[Any]:
    values = (getattr(row, field.name) for field in _FIELDS)
    return [int(v) if isinstance(v, bool) else v for v in values]


def _row(cells: Sequence[str]) -> ClientDifference:
    return ClientDifference(*(_READERS[str(field.type)](cell) for field, cell in zip(_FIELDS, cells)))
