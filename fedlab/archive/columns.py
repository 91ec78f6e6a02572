"""Tables given as columns: CSV files, or binary ones if they are long.

A table of more than 10,000 rows is NAME.npz in place of NAME.csv: an uncompressed archive that `numpy.load` reads, with an array
per column under the column's name. It is written and read in a hundredth of the time of text.
"""

from __future__ import annotations

import pathlib
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from fedlab.archive.folder import replacing
from fedlab.archive.tables import write_rows
from fedlab.arrays import read_arrays
from fedlab.errors import FedlabError
from fedlab.ragged import Names

Columns = Mapping[str, Sequence[Any] | np.ndarray]  # by name, all of one length
MOST_ROWS = 10_000  # of a table of text


def write_table(path: pathlib.Path, columns: Columns) -> None:
    """Replaces the table `path`, NAME.csv; with more than `MOST_ROWS` rows it is NAME.npz, in which each column is an array.

    A value that is NaN is an empty cell.
    """
    length = len(next(iter(columns.values())))
    assert all(len(column) == length for column in columns.values())
    if length > MOST_ROWS:
        _write_arrays(binary(path), columns)
        path.unlink(missing_ok=True)
    else:
        write_rows(path, columns, zip(*map(_cells, columns.values())))
        binary(path).unlink(missing_ok=True)


def has_table(path: pathlib.Path) -> bool:
    """Returns True if there is the table `path`, of text or binary."""
    return path.is_file() or binary(path).is_file()


def binary(path: pathlib.Path) -> pathlib.Path:
    """Returns the file of the table `path` if it has more than `MOST_ROWS` rows."""
    return path.with_suffix(".npz")


def read_columns(path: pathlib.Path, least: int) -> dict[str, np.ndarray] | None:
    """Reads the binary file of the table `path`: names in the first column, numbers in the others, which are at least `least`.

    Returns None if there is no such file. Raises `FedlabError` if it is damaged.
    """
    file = binary(path)
    try:
        columns = read_arrays(file)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FedlabError(f"{file} cannot be read: {error}.") from error
    except ValueError as error:
        raise FedlabError(f"{file} is damaged: {error}.") from error
    kinds = ["iuU", *["iuf"] * (len(columns) - 1)]
    wrong = [name for (name, c), kind in zip(columns.items(), kinds) if c.ndim != 1 or c.dtype.kind not in kind]
    if wrong or len(columns) <= least or len({len(column) for column in columns.values()}) != 1:
        raise FedlabError(
            f"{file} is damaged: {f'its array {wrong[0]} is no column' if wrong else 'columns are missing from it'}."
        )
    return columns


def _write_arrays(path: pathlib.Path, columns: Columns) -> None:
    with replacing(path) as partial, zipfile.ZipFile(partial, "w") as archive:
        for name, column in columns.items():
            array = column.values if isinstance(column, Names) else np.asarray(column)
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)


def _cells(column: Sequence[Any] | np.ndarray) -> Iterable[Any]:
    values = column.tolist() if isinstance(column, np.ndarray) else column
    return (None if value != value else value for value in values)
