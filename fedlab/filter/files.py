"""Filter files: two columns without a header, as Augenstein et al. 2020 used them, each with its provenance.

By user, one row per user that is kept: `0103,True`: the id, and True if the user's data has the bug (for scoring, never for
training). By example: `0103,"[0, 4, 17]"`: the id, and the positions of the examples that are kept, from 0, among all of the
user's examples in the order of the training set. The `Provenance` of `low.csv` is in `low.json`.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import json
import os
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fedlab.errors import DataError
from fedlab.fingerprint import file_fingerprint, parsed_json

_POSITION = r"\d{1,1000}"  # Python converts no text of more than 4,300 digits
_FLAGS = {"True": True, "False": False}


@dataclasses.dataclass(frozen=True)
class Provenance:
    """The inputs from which a filter file was made."""

    data: str  # fingerprint of all arrays, including the corruption
    clients: str  # fingerprint of the partition that the file selects from
    classifier: str  # SHA-256 of the model's file
    selection: str  # in words: "users of accuracy below 0.9"
    threshold: Any  # accuracy; None by example
    command: str
    rows: str = ""  # SHA-256 of the filter file; `write_users` and `write_examples` set it

    @staticmethod
    def path(file: pathlib.Path) -> pathlib.Path:
        """Returns the path of the provenance of `file`."""
        return file.with_suffix(".json")

    @classmethod
    def read(cls, file: pathlib.Path) -> Provenance:
        """Reads the provenance of `file`. Raises `DataError` if it is missing or damaged."""
        path = cls.path(file)
        try:
            found = cls(**parsed_json(path.read_text()))
            for field in dataclasses.fields(cls):
                if field.name != "threshold" and not isinstance(getattr(found, field.name), str):
                    raise ValueError(f"{field.name} is no text")
            return found
        except FileNotFoundError:
            raise DataError(
                f"{file} has no {path.name} beside it, which states the data it was made from: run `fedlab data filter` again, "
                "or set filter.verify=false."
            ) from None
        except (OSError, ValueError, TypeError) as error:
            raise DataError(
                f"{path} is damaged ({error}): run `fedlab data filter` again, or set filter.verify=false."
            ) from error

    def require(self, file: pathlib.Path) -> None:
        """Raises `DataError` if `file` was changed after it was written."""
        if file_fingerprint(file) != self.rows:
            raise DataError(
                f"{file} does not match its {self.path(file).name}: it was changed after `fedlab data filter` wrote it. Run "
                "`fedlab data filter` again, or set filter.verify=false."
            )


def write_users(path: pathlib.Path, users: Mapping[str, bool], provenance: Provenance) -> None:
    """Writes `path` and its provenance, replacing old ones. `users`: {id of a kept user: True if the user has the bug}."""
    _write(path, [(user, str(has_it)) for user, has_it in users.items()], provenance)


def write_examples(path: pathlib.Path, examples: Mapping[str, Sequence[int]], provenance: Provenance) -> None:
    """Writes `path` and its provenance, replacing old ones. `examples`: {id of a kept user: positions of the kept examples}."""
    _write(path, [(user, str([int(i) for i in indices])) for user, indices in examples.items()], provenance)


def read_users(path: pathlib.Path) -> dict[str, bool]:
    """Reads a file of `write_users`, or of the paper's script. Raises `DataError` that names the wrong row."""
    users = {}
    for where, user, flag in _rows(path):
        if flag not in _FLAGS:
            raise DataError(f"{where}: '{shown(flag)}' is neither True nor False; a row by user is `id,True` or `id,False`.")
        users[user] = _FLAGS[flag]
    return users


def read_examples(path: pathlib.Path) -> dict[str, list[int]]:
    """Reads a file of `write_examples`, or of the paper's script. Raises `DataError` that names the wrong row."""
    examples = {}
    for where, user, text in _rows(path):
        if not re.fullmatch(rf"\[\s*{_POSITION}(\s*,\s*{_POSITION})*\s*\]", text):
            raise DataError(f"{where}: '{shown(text)}' is no list of positions; a row by example is `id,\"[0, 4, 17]\"`.")
        indices = [int(i) for i in text[1:-1].split(",")]
        if len(set(indices)) < len(indices):
            raise DataError(f"{where}: user '{shown(user)}' has position {_twice(indices)} twice; list each position once.")
        examples[user] = indices
    return examples


def _rows(path: pathlib.Path) -> Iterator[tuple[str, str, str]]:
    """Yields (file and row number, id, second column) of each row. Raises `DataError`."""
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
            raise DataError(f"{where}: '{shown(','.join(row))}' is not two columns: the user's id, and a flag or positions.")
        if row[0] in seen:
            raise DataError(f"{where}: user '{shown(row[0])}' has row {seen[row[0]]} already; give each user one row.")
        seen[row[0]] = number
        yield where, row[0], row[1]


def _write(path: pathlib.Path, rows: Sequence[tuple[str, str]], provenance: Provenance) -> None:
    """Writes both files, or raises `DataError` and leaves no part of them."""
    made_from = Provenance.path(path)
    partial, partial_made_from = (file.with_name(f".partial-{file.name}") for file in (path, made_from))
    try:
        for name in (partial, partial_made_from):
            name.unlink(missing_ok=True)  # a killed process may have left one
        with open(partial, "x", newline="", opener=_private) as file:
            csv.writer(file, lineterminator="\n").writerows(rows)
        described = dataclasses.asdict(dataclasses.replace(provenance, rows=file_fingerprint(partial)))
        with open(partial_made_from, "x", opener=_private) as file:
            file.write(json.dumps(described, indent=2) + "\n")
        # The provenance comes last: a file without one is refused; a file with an older file's would not be
        made_from.unlink(missing_ok=True)
        os.replace(partial, path)
        os.replace(partial_made_from, made_from)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror or error}.") from error
    finally:
        for name in (partial, partial_made_from):
            with contextlib.suppress(OSError):
                name.unlink(missing_ok=True)


def _private(path: str, flags: int) -> int:
    """Opens a file so that only its owner may read it: filters reveal the users for whom a model fails."""
    return os.open(path, flags, 0o600)


def _twice(indices: Sequence[int]) -> int:
    return next(i for position, i in enumerate(indices) if i in indices[:position])


def shown(text: str, most: int = 60) -> str:
    """Returns an id or another cell of a filter file for an error message: in one line, and cut off after `most` characters."""
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[: most - 1]}…"
