"""clients.csv, partition.csv, privacy.csv and client_models/: tables with one row per client, in the order of the partition.

With more than 10,000 clients they are clients.npz and so on, with the same columns (`fedlab.archive.columns`). The tables in
client_models/, of the clients of one round, are always text.
"""

from __future__ import annotations

import abc
import dataclasses
import math
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar, overload

import numpy as np

from fedlab.archive.columns import read_columns, write_table
from fedlab.archive.folder import make_folder
from fedlab.archive.tables import read_rows, write_rows
from fedlab.errors import FedlabError
from fedlab.ragged import Names, chosen

Row = TypeVar("Row")


@dataclasses.dataclass(frozen=True)
class ClientScore:
    """The final model's result on one client's own examples. `score`: the headline metric of the task, such as accuracy; None if
    it is undefined on these examples. `loss`: None if it is NaN. `also`: the metrics of `evaluation.metrics`, like `score`.
    """

    client: str
    examples: int
    score: float | None
    loss: float | None
    also: tuple[float | None, ...] = ()


class _Rows(Sequence[Row]):
    """Columns that read as a sequence of rows. Equal to a list of the same rows."""

    @overload
    def __getitem__(self, place: int) -> Row: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Row]: ...
    def __getitem__(self, place: int | slice) -> Row | Sequence[Row]:
        if isinstance(place, slice):
            return [self._row(i) for i in range(len(self))[place]]
        return self._row(range(len(self))[place])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, (_Rows, list, tuple)) and list(self) == list(other)

    @abc.abstractmethod
    def _row(self, place: int) -> Row:
        """Returns the row at `place`, at least 0."""


@dataclasses.dataclass(frozen=True, eq=False)
class Scores(_Rows[ClientScore]):
    """The rows `ClientScore` of many clients, as columns.

    `clients`: their names. `examples`: int64 [clients]. `score`, `loss`: float64 [clients]; NaN where they are undefined.
    `also`: float64 [clients, metrics], like `score`.
    """

    clients: Sequence[str]
    examples: np.ndarray
    score: np.ndarray
    loss: np.ndarray
    also: np.ndarray

    @classmethod
    def of(cls, rows: Iterable[ClientScore]) -> Scores:
        """Returns the columns of `rows`; `rows` unchanged if they are columns already."""
        if isinstance(rows, Scores):
            return rows
        rows = list(rows)
        score, loss = (
            np.array([_or_nan(v) for v in values], np.float64) for values in ([s.score for s in rows], [s.loss for s in rows])
        )
        also = np.array([[_or_nan(v) for v in s.also] for s in rows], np.float64).reshape(len(rows), -1 if rows else 0)
        return cls(tuple(s.client for s in rows), np.array([s.examples for s in rows], np.int64), score, loss, also)

    def __len__(self) -> int:
        return len(self.examples)

    def select(self, places: np.ndarray) -> Scores:
        """Returns the rows at `places` [m], in that order; or those where `places`, bool [clients], is True."""
        places = np.flatnonzero(places) if places.dtype == bool else places
        clients = chosen(self.clients, places)
        return Scores(clients, *(column[places] for column in (self.examples, self.score, self.loss, self.also)))

    def _row(self, place: int) -> ClientScore:
        score, loss, *also = (
            None if v != v else v for v in (float(self.score[place]), float(self.loss[place]), *self.also[place].tolist())
        )
        return ClientScore(self.clients[place], int(self.examples[place]), score, loss, tuple(also))


@dataclasses.dataclass(frozen=True)
class ModelScore:
    """The results of one client's model after its training in a round: on the client's training examples and on the test set.

    `train_score`, `test_score`: the headline metric of the task. A value that is not finite is None.
    """

    client: str
    examples: int
    train_loss: float | None
    train_score: float | None
    test_loss: float | None
    test_score: float | None


@dataclasses.dataclass(frozen=True)
class ClientLabels:
    """The number of examples of each class that one client has."""

    client: str
    counts: tuple[int, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Labels(_Rows[ClientLabels]):
    """The rows `ClientLabels` of many clients, as columns. `counts`: integers [clients, classes]."""

    clients: Sequence[str]
    counts: np.ndarray

    def __len__(self) -> int:
        return len(self.counts)

    def _row(self, place: int) -> ClientLabels:
        return ClientLabels(self.clients[place], tuple(self.counts[place].tolist()))


def write_scores(path: pathlib.Path, scores: Iterable[ClientScore], metric: str = "accuracy", also: Sequence[str] = ()) -> None:
    """Replaces `path`. `metric`: the name of the column of scores; `also`: the names of the metrics `also`."""
    table = Scores.of(scores)
    further = {name: _finite_only(table.also[:, i]) for i, name in enumerate(also)}
    own = {metric: _finite_only(table.score), "loss": _finite_only(table.loss)}
    write_table(path, {"client": table.clients, "examples": table.examples, **own, **further})


def read_scores(path: pathlib.Path) -> Scores:
    """Reads the table of `write_scores`; no row if there is no file. Raises `FedlabError` if it is damaged."""
    columns = read_columns(path, least=3)
    if columns is None:
        rows = read_rows(path, _client_score)
        if len({len(row.also) for row in rows}) > 1:
            raise FedlabError(f"{path} is damaged: its rows have different numbers of metrics.")
        return Scores.of(rows)
    clients, examples, score, loss, *also = columns.values()
    further = np.stack(also, 1) if also else np.zeros((len(clients), 0))
    return Scores(Names(clients), examples, score.astype(np.float64), loss.astype(np.float64), further)


def _client_score(row: list[str]) -> ClientScore:
    score, loss, *also = [float(cell) if cell else None for cell in row[2:]]
    return ClientScore(row[0], int(row[1]), score, loss, tuple(also))


def write_model_scores(folder: pathlib.Path, round_num: int, scores: Iterable[ModelScore], metric: str) -> None:
    """Replaces the table of a round in `folder`. `metric`: the name of the columns of scores."""
    make_folder(folder)
    rows = [(s.client, s.examples, *map(_finite, (s.train_loss, s.train_score, s.test_loss, s.test_score))) for s in scores]
    header = ("client", "examples", "train_loss", f"train_{metric}", "test_loss", f"test_{metric}")
    write_rows(folder / f"round_{round_num:06d}.csv", header, rows)


def read_model_scores(folder: pathlib.Path) -> dict[int, list[ModelScore]]:
    """Reads the tables of `write_model_scores`, by round in ascending order. Raises `FedlabError` if one is damaged."""
    paths = {
        int(p.stem.removeprefix("round_")): p for p in folder.glob("round_*.csv") if p.stem.removeprefix("round_").isdecimal()
    }
    return {number: read_rows(paths[number], _model_score) for number in sorted(paths)}


def _model_score(row: list[str]) -> ModelScore:
    values = [float(cell) if cell else None for cell in row[2:]]
    if len(values) != 4:
        raise ValueError(f"{len(row)} columns instead of 6")
    return ModelScore(row[0], int(row[1]), *values)


def write_labels(path: pathlib.Path, client_ids: Sequence[str], counts: np.ndarray) -> None:
    """Replaces `path`. `counts`: int [clients, classes]."""
    small = counts.astype(np.min_scalar_type(int(counts.max(initial=0))))
    write_table(path, {"client": client_ids, **{f"class_{c}": column for c, column in enumerate(small.T)}})


def write_ledger(path: pathlib.Path, rows: Sequence[tuple[str, int, int, float]], delta: float) -> None:
    """Replaces `path`. Per client: its name, number of examples, number of rounds, and ε for each of its examples (∞: "inf")."""
    columns: dict[str, Any] = dict(zip(("client", "examples", "rounds", "epsilon"), map(list, zip(*rows))))
    write_table(path, {**columns, "delta": [delta] * len(rows)})


def write_corruption(path: pathlib.Path, affected: Mapping[str, bool]) -> None:
    """Replaces `path`. Per user: the id, and whether the user's data has the bug."""
    write_table(path, {"user": list(affected), "affected": [int(has_it) for has_it in affected.values()]})


def read_labels(path: pathlib.Path) -> Labels:
    """Reads the table of `write_labels`; no row if there is no file. Raises `FedlabError` if it is damaged."""
    columns = read_columns(path, least=0)
    if columns is not None:
        clients, *counts = columns.values()
        return Labels(Names(clients), np.stack(counts, 1) if counts else np.zeros((len(clients), 0), np.int64))
    rows = read_rows(path, lambda row: ClientLabels(row[0], tuple(map(int, row[1:]))))
    if len({len(row.counts) for row in rows}) > 1:
        raise FedlabError(f"{path} is damaged: its rows have different numbers of classes.")
    return Labels(
        tuple(r.client for r in rows), np.array([r.counts for r in rows], np.int64).reshape(len(rows), -1 if rows else 0)
    )


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _finite_only(values: np.ndarray) -> np.ndarray:
    """Returns `values` with NaN in place of infinity."""
    return np.where(np.isfinite(values), values, np.nan)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
