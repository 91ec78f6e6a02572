"""clients.csv, partition.csv and privacy.csv: what is known of each client, a row per client in the order of the partition."""

from __future__ import annotations

import csv
import dataclasses
import math
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fedlab.archive.folder import replacing
from fedlab.errors import FedlabError

_SCORES = ("client", "examples", "accuracy", "loss")


@dataclasses.dataclass(frozen=True)
class ClientScore:
    """How the final model does on one client's own examples. `loss` in nats; None where it is not a number."""

    client: str
    examples: int
    accuracy: float
    loss: float | None


@dataclasses.dataclass(frozen=True)
class ClientLabels:
    """How many examples of each class one client holds."""

    client: str
    counts: tuple[int, ...]


def write_scores(path: pathlib.Path, scores: Iterable[ClientScore]) -> None:
    """Replaces `path`."""
    rows = ((s.client, s.examples, s.accuracy, _finite(s.loss)) for s in scores)
    _write(path, _SCORES, rows)


def read_scores(path: pathlib.Path) -> list[ClientScore]:
    """What `write_scores` wrote; [] without a file. Raises `FedlabError` where it is damaged."""
    try:
        return [ClientScore(row[0], int(row[1]), float(row[2]), float(row[3]) if row[3] else None) for row in _read(path)]
    except (ValueError, IndexError) as error:
        raise FedlabError(f"{path} is damaged: {error}.") from error


def write_labels(path: pathlib.Path, client_ids: Sequence[str], counts: Iterable[Sequence[int]]) -> None:
    """Replaces `path`. `counts`: int [clients, classes]."""
    rows = [(client, *map(int, row)) for client, row in zip(client_ids, counts)]
    classes = len(rows[0]) - 1 if rows else 0
    _write(path, ("client", *(f"class_{c}" for c in range(classes))), rows)


def write_ledger(path: pathlib.Path, rows: Iterable[tuple[str, int, int, float]], delta: float) -> None:
    """Replaces `path`. Per client: its name, its examples, the rounds it took part in, ε for each of its examples (∞: "inf")."""
    _write(path, ("client", "examples", "rounds", "epsilon", "delta"), [(*row, delta) for row in rows])


def write_corruption(path: pathlib.Path, affected: Mapping[str, bool]) -> None:
    """Replaces `path`. Per user: the id, and whether their data has the bug."""
    _write(path, ("user", "affected"), [(user, int(has_it)) for user, has_it in affected.items()])


def read_corruption(path: pathlib.Path) -> dict[str, bool]:
    """What `write_corruption` wrote; {} without a file. Raises `FedlabError` where it is damaged."""
    try:
        return {row[0]: bool(int(row[1])) for row in _read(path)}
    except (ValueError, IndexError) as error:
        raise FedlabError(f"{path} is damaged: {error}.") from error


def read_labels(path: pathlib.Path) -> list[ClientLabels]:
    """What `write_labels` wrote; [] without a file. Raises `FedlabError` where it is damaged."""
    try:
        return [ClientLabels(row[0], tuple(map(int, row[1:]))) for row in _read(path)]
    except (ValueError, IndexError) as error:
        raise FedlabError(f"{path} is damaged: {error}.") from error


def _write(path: pathlib.Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with replacing(path) as partial, open(partial, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def _read(path: pathlib.Path) -> list[list[str]]:
    """The rows below the header."""
    try:
        with open(path, newline="") as file:
            return [row for row in csv.reader(file)][1:]
    except FileNotFoundError:
        return []
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise FedlabError(f"{path} cannot be read: {error}.") from error


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
