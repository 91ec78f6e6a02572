"""Filter files: two columns without a header, as Augenstein et al. 2020 used them, and beside each where it came from.

By user, a row per user who is kept: `0103,True`, the id, and whether their data has the bug (for scoring, never for training).
By example: `0103,"[0, 4, 17]"`, the id, and which of the user's examples are kept: their places, from 0, among all that the
user has, in the order of the training set. `low.csv` has its `Provenance` in `low.json`.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import json
import os
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fedlab.errors import DataError

_FLAGS = {"True": True, "False": False}


@dataclasses.dataclass(frozen=True)
class Provenance:
    """What a filter file was made from."""

    data: str  # fingerprint of all arrays, the bug included
    clients: str  # fingerprint of the division among the users whom the file was chosen from
    classifier: str  # SHA-256 of the model's file
    selection: str  # in words: "users of accuracy below 0.9"
    threshold: Any  # accuracy; None by example
    command: str
    rows: str = ""  # SHA-256 of the filter file, which `write_users` and `write_examples` fill in

    @staticmethod
    def path(file: pathlib.Path) -> pathlib.Path:
        """Where the provenance of `file` is."""
        return file.with_suffix(".json")

    @classmethod
    def read(cls, file: pathlib.Path) -> Provenance:
        """Raises `DataError` where there is none that can be read."""
        path = cls.path(file)
        try:
            return cls(**json.loads(path.read_text()))
        except FileNotFoundError:
            raise DataError(
                f"{file} has no {path.name} beside it, which says what data it was made from: filter.verify=false takes it so."
            ) from None
        except (OSError, ValueError, TypeError) as error:
            raise DataError(f"{path} is damaged: {error}.") from error

    def require(self, file: pathlib.Path) -> None:
        """Raises `DataError` where `file` is not as it was written."""
        if _sha256(file) != self.rows:
            raise DataError(
                f"{file} is not what {self.path(file).name} beside it is about: it was changed since `fedlab data filter` "
                "wrote it. Make it anew, or set filter.verify=false."
            )


def write_users(path: pathlib.Path, users: Mapping[str, bool], provenance: Provenance) -> None:
    """Replaces `path` and its provenance. Per user who is kept: whether their data has the bug."""
    _write(path, [(user, str(has_it)) for user, has_it in users.items()], provenance)


def write_examples(path: pathlib.Path, examples: Mapping[str, Sequence[int]], provenance: Provenance) -> None:
    """Replaces `path` and its provenance. Per user who is kept: the places of the examples that are."""
    _write(path, [(user, str([int(i) for i in indices])) for user, indices in examples.items()], provenance)


def read_users(path: pathlib.Path) -> dict[str, bool]:
    """What `write_users` wrote, or the original's script. Raises `DataError` naming the row that is wrong."""
    users = {}
    for where, user, flag in _rows(path):
        if flag not in _FLAGS:
            raise DataError(f"{where}: '{flag}' is neither True nor False; a row by user is `id,True` or `id,False`.")
        users[user] = _FLAGS[flag]
    return users


def read_examples(path: pathlib.Path) -> dict[str, list[int]]:
    """What `write_examples` wrote, or the original's script. Raises `DataError` naming the row that is wrong."""
    examples = {}
    for where, user, text in _rows(path):
        if not re.fullmatch(r"\[\s*\d+(\s*,\s*\d+)*\s*\]", text):
            raise DataError(f"{where}: '{_short(text)}' is no list of places; a row by example is `id,\"[0, 4, 17]\"`.")
        indices = [int(i) for i in text[1:-1].split(",")]
        if len(set(indices)) < len(indices):
            raise DataError(f"{where}: user '{user}' has place {_twice(indices)} twice.")
        examples[user] = indices
    return examples


def _rows(path: pathlib.Path) -> Iterator[tuple[str, str, str]]:
    """Where it stands, its id and its second column, of each row. Raises `DataError`."""
    try:
        with open(path, newline="") as file:
            rows = list(csv.reader(file))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file. `fedlab data filter` writes filter files.") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read: {error}.") from error
    if not rows:
        raise DataError(f"{path} is empty: a filter that keeps nobody leaves nothing to train on.")
    seen: dict[str, int] = {}
    for number, row in enumerate(rows, 1):
        where = f"{path}, row {number}"
        if len(row) != 2 or not row[0]:
            raise DataError(f"{where}: '{_short(','.join(row))}' is not two columns, the user's id and what is kept.")
        if row[0] in seen:
            raise DataError(f"{where}: user '{row[0]}' has row {seen[row[0]]} already.")
        seen[row[0]] = number
        yield where, row[0], row[1]


def _write(path: pathlib.Path, rows: Sequence[tuple[str, str]], provenance: Provenance) -> None:
    # The provenance last: a file without one is refused, one with that of an older file would not be
    Provenance.path(path).unlink(missing_ok=True)
    partial = path.with_name(f".partial-{path.name}")
    partial.unlink(missing_ok=True)  # one that a killed process has left
    with open(partial, "x", newline="", opener=_private) as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    os.replace(partial, path)
    provenance = dataclasses.replace(provenance, rows=_sha256(path))
    with open(Provenance.path(path), "x", opener=_private) as file:
        file.write(json.dumps(dataclasses.asdict(provenance), indent=2) + "\n")


def _private(path: str, flags: int) -> int:
    """An `opener` of files that their owner alone may read: filters tell which users a model fails."""
    return os.open(path, flags, 0o600)


def _sha256(path: pathlib.Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _twice(indices: Sequence[int]) -> int:
    return next(i for position, i in enumerate(indices) if i in indices[:position])


def _short(text: str, most: int = 60) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
