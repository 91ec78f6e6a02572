"""clients.csv, partition.csv, privacy.csv and client_models/: tables with one row per client, in the order of the partition."""

from __future__ import annotations

import dataclasses
import math
import pathlib
from collections.abc import Iterable, Mapping, Sequence

from fedlab.archive.folder import make_folder
from fedlab.archive.tables import read_rows, write_rows


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


def write_scores(path: pathlib.Path, scores: Iterable[ClientScore], metric: str = "accuracy", also: Sequence[str] = ()) -> None:
    """Replaces `path`. `metric`: the name of the column of scores; `also`: the names of the metrics `also`."""
    rows = ((s.client, s.examples, *map(_finite, (s.score, s.loss, *s.also))) for s in scores)
    write_rows(path, ("client", "examples", metric, "loss", *also), rows)


def read_scores(path: pathlib.Path) -> list[ClientScore]:
    """Reads the table of `write_scores`; [] if there is no file. Raises `FedlabError` if it is damaged."""
    return read_rows(path, _client_score)


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


def write_labels(path: pathlib.Path, client_ids: Sequence[str], counts: Iterable[Sequence[int]]) -> None:
    """Replaces `path`. `counts`: int [clients, classes]."""
    rows = [(client, *map(int, row)) for client, row in zip(client_ids, counts)]
    classes = len(rows[0]) - 1 if rows else 0
    write_rows(path, ("client", *(f"class_{c}" for c in range(classes))), rows)


def write_ledger(path: pathlib.Path, rows: Iterable[tuple[str, int, int, float]], delta: float) -> None:
    """Replaces `path`. Per client: its name, number of examples, number of rounds, and ε for each of its examples (∞: "inf")."""
    write_rows(path, ("client", "examples", "rounds", "epsilon", "delta"), [(*row, delta) for row in rows])


def write_corruption(path: pathlib.Path, affected: Mapping[str, bool]) -> None:
    """Replaces `path`. Per user: the id, and whether the user's data has the bug."""
    write_rows(path, ("user", "affected"), [(user, int(has_it)) for user, has_it in affected.items()])


def read_labels(path: pathlib.Path) -> list[ClientLabels]:
    """Reads the table of `write_labels`; [] if there is no file. Raises `FedlabError` if it is damaged."""
    return read_rows(path, lambda row: ClientLabels(row[0], tuple(map(int, row[1:]))))


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
