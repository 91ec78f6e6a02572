"""Reads the cells of a table file, as text: CSV and Parquet."""

from __future__ import annotations

import csv
import gzip
import io
import pathlib
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from fedlab.errors import DataError, one_line

_DELIMITERS = ",;\t|"
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+")


def read_cells(path: str, missing: Sequence[str]) -> dict[str, np.ndarray]:
    """Returns the cells of each column as text; "" for missing ones. Raises `DataError`."""
    place = pathlib.Path(path).expanduser()
    try:
        header, rows = _parquet(place) if place.suffix == ".parquet" else _csv(place)
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
    if not rows:
        raise DataError(f"{path}: no row below the header.")
    cells = np.array(rows, str)
    cells = np.where(np.isin(cells, missing), "", cells)
    return {name: cells[:, i] for i, name in enumerate(header)}


def _csv(place: pathlib.Path) -> tuple[list[str], list[list[str]]]:
    """Returns the header and the rows of a CSV file, whose delimiter is the most frequent one of its first line.

    Where it is a semicolon, a comma in a number is a decimal comma, as spreadsheets write it.
    """
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
    if delimiter == ";":
        rows = [[cell.replace(",", ".") if _DECIMAL_COMMA.fullmatch(cell) else cell for cell in row] for row in rows]
    return header, rows


def _parquet(place: pathlib.Path) -> tuple[list[str], list[list[str]]]:
    """Returns the names and the rows of a Parquet file, as text."""
    try:
        from pyarrow import parquet
    except ImportError:
        raise ValueError("Parquet files need pyarrow: pip install 'fedlab-runner[arrow]'") from None
    table = parquet.read_table(place)
    columns: list[list[Any]] = [[_text(value) for value in column.to_pylist()] for column in table.columns]
    return list(table.column_names), list(map(list, zip(*columns)))


def _text(value: Any) -> str:
    """Returns a value of a Parquet file as a CSV file would have it."""
    if value is None or value != value:  # NaN
        return ""
    if not isinstance(value, (str, bool, int, float)):
        raise ValueError(f"a column contains values of type {type(value).__name__}: store numbers, booleans or strings")
    return repr(value) if isinstance(value, float) else str(value)
