"""Files of rows: CSV tables, which are written whole, and files that grow."""

from __future__ import annotations

import csv
import os
import pathlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from fedlab.archive.folder import replacing
from fedlab.errors import FedlabError

Row = TypeVar("Row")


def write_rows(path: pathlib.Path, header: Iterable[str], rows: Iterable[Sequence[Any]]) -> None:
    """Replaces `path` by a header and `rows`."""
    with replacing(path) as partial, open(partial, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def read_rows(path: pathlib.Path, row: Callable[[list[str]], Row]) -> list[Row]:
    """Returns `row` of the cells of each line below the header; [] without a file. Raises `FedlabError` if it is damaged."""
    try:
        with open(path, newline="") as file:
            return [row(cells) for cells in list(csv.reader(file))[1:]]
    except FileNotFoundError:
        return []
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise FedlabError(f"{path} cannot be read: {error}.") from error
    except (ValueError, IndexError) as error:
        raise FedlabError(f"{path} is damaged: {error}.") from error


class GrowingFile:
    """Appends text, which is on disk when `sync` returns."""

    def __init__(self, path: pathlib.Path):
        self._file = open(path, "a", newline="")  # noqa: SIM115  (closed by `close`)

    def _append(self, text: str) -> None:
        self._file.write(text)
        self._file.flush()

    def sync(self) -> None:
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()
