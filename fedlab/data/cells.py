"""Reads the cells of a table file, as text: CSV and Parquet."""

from __future__ import annotations

import csv
import decimal
import gzip
import io
import pathlib
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from fedlab.data.kinds import is_numeric
from fedlab.errors import DataError, one_line

_DELIMITERS = ",;\t|"
_LONGEST = 1000  # characters of a cell; NumPy stores every cell of a column with the length of the longest one
_PANDAS_INDEX = re.compile(r"__index_level_\d+__")  # pandas writes an index without a name as this column


def read_cells(path: str, missing: Sequence[str], drop: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """Returns the cells of each column as text; "" for missing ones.

    Columns in `drop` are not read: they have one cell, "". So is the unnamed index that pandas writes into Parquet files. Raises
    `DataError`.
    """
    place = pathlib.Path(path).expanduser()
    try:
        header, columns = _parquet(place, drop) if place.suffix == ".parquet" else _csv(place)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file. Set it to a CSV file with a header, or to a Parquet file.") from None
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{path}: not a readable table ({one_line(error)}).") from None
    if "" in header:
        number = header.index("") + 1
        raise DataError(f"{path}: column {number} has no name: name it, or, if it is an index, write the file without it.")
    twice = next((name for name in header if header.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{path}: two columns are called {twice}: rename one.")
    if not columns or not max(map(len, columns)):
        raise DataError(f"{path}: no row below the header.")
    return {name: _cells(path, name, cells if name not in drop else [""], missing) for name, cells in zip(header, columns)}


def _cells(path: str, name: str, cells: Sequence[str], missing: Sequence[str]) -> np.ndarray:
    """Returns the cells of a column. Raises `DataError` for one of free text."""
    longest = max(map(len, cells))
    if longest > _LONGEST:
        raise DataError(
            f"{path}: column {name} has a cell of {longest:,} characters, which is no number and no category: leave the column "
            f"out with data.drop=[{name}]."
        )
    found = np.array(cells, str)
    codes = {float(code) for code in missing if is_numeric(np.array([code]))}  # -9 is also -9.0
    kinds = np.unique(found) if codes else ()
    numbers = [kind for kind in kinds if is_numeric(np.array([kind])) and float(kind) in codes]
    return np.where(np.isin(found, [*missing, *numbers]), "", found)


def _csv(place: pathlib.Path) -> tuple[list[str], Sequence[Sequence[str]]]:
    """Returns the header and the columns of a CSV file, whose delimiter is the most frequent one of its first line."""
    content = place.read_bytes()
    try:
        text = (gzip.decompress(content) if place.suffix == ".gz" else content).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("its text is not UTF-8: save it as CSV UTF-8") from None
    first = text.partition("\n")[0]
    delimiter = max(_DELIMITERS, key=first.count)
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    header, *rows = [[cell.strip() for cell in line] for line in lines if line] or [[]]
    for number, row in enumerate(rows, start=1):
        if len(row) != len(header):
            raise ValueError(f"row {number} has {len(row)} cells, and the header has {len(header)}")
    return header, list(zip(*rows))


def _parquet(place: pathlib.Path, drop: Sequence[str]) -> tuple[list[str], Sequence[Sequence[str]]]:
    """Returns the names and the columns of a Parquet file, as text; those in `drop` are empty."""
    try:
        from pyarrow import parquet
    except ImportError:
        raise ValueError("Parquet files need pyarrow: pip install 'fedlab-runner[arrow]'") from None
    table = parquet.read_table(place)
    names = [name for name in table.column_names if not _PANDAS_INDEX.fullmatch(name)]
    return names, [[] if name in drop else [_text(name, v) for v in table.column(name).to_pylist()] for name in names]


def _text(column: str, value: Any) -> str:
    """Returns a value of a Parquet file as a CSV file would have it."""
    if value is None or value != value:  # NaN
        return ""
    if not isinstance(value, (str, bool, int, float, decimal.Decimal)):
        raise ValueError(
            f"column {column} contains values of type {type(value).__name__}: store numbers, booleans or strings, or leave it "
            f"out with data.drop=[{column}]"
        )
    return repr(value) if isinstance(value, float) else str(value)
