"""Decides whether a column of text contains numbers or categories; refuses columns that are probably neither."""

from __future__ import annotations

import re

import numpy as np

from fedlab.errors import DataError

_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+")
_THREE_DIGITS = re.compile(r"[+-]?\d{1,3},\d{3}")  # 1,234 is a decimal comma in one country and a thousands separator in another
_DECORATED = re.compile(  # 1,234.5 or 1.234,5 or $12 or 12 %
    r"[+-]?[$€£¥]?\s?(\d{1,3}([.,' ]\d{3})+([.,]\d+)?|\d+([.,]\d+)?)\s?[%$€£¥]?"
)
_MOSTLY = 0.9  # share of cells from which on a column is one of numbers, with some cells that are wrong
_FEW = 20  # rows up to which all cells of a categorical column may differ
_SHOWN = 3  # cells that an error quotes


def with_points(cells: np.ndarray) -> np.ndarray:
    """Returns the cells of a column, with decimal points if all of them are numbers, some of them with a decimal comma.

    A column whose commas are all followed by three digits stays as it is: they may separate thousands.
    """
    known = np.unique(cells[cells != ""])
    commas = [cell for cell in known if "," in cell]
    if not commas or all(map(_THREE_DIGITS.fullmatch, commas)) or not all(map(_DECIMAL_COMMA.fullmatch, commas)):
        return cells
    pointed = np.char.replace(cells, ",", ".")
    return pointed if is_numeric(pointed) else cells


def numbers(cells: np.ndarray) -> np.ndarray:
    """Returns cells, "" where a value is missing, as float64 with NaN there."""
    return np.where(cells == "", "nan", cells).astype(np.float64)


def is_numeric(cells: np.ndarray) -> bool:
    """Returns True if every cell that is not missing is a finite number, and one is not missing."""
    known = cells[cells != ""]
    try:
        values = known.astype(np.float64)
    except ValueError:
        return False
    # Python reads 12_3 as a number; a file means a name
    return len(known) > 0 and bool(np.isfinite(values).all()) and not (np.char.find(known, "_") >= 0).any()


def check_categories(name: str, cells: np.ndarray) -> None:
    """Raises `DataError` if the cells of a column, "" where one is missing, are probably no categories.

    These are numbers with separators or units, numbers with a few other cells, and cells that all differ.
    """
    known = cells[cells != ""]
    kinds, counts = np.unique(known, return_counts=True)
    ways_out = f"leave it out with data.drop=[{name}], or make categories of it with data.categorical=[{name}]"
    if len(kinds) and all(map(_DECORATED.fullmatch, kinds)):
        raise DataError(f"column {name} has numbers with separators or units ({_some(kinds)}): write them as 1234.5, {ways_out}")
    others = np.array([kind for kind in kinds if not is_numeric(np.array([kind]))])
    if len(others) < len(kinds) and counts[np.isin(kinds, others)].sum() <= (1 - _MOSTLY) * len(known):
        raise DataError(
            f"column {name} has numbers, and cells that are none ({_some(others)}): list those that mean a missing value in "
            f"data.missing, {ways_out}"
        )
    if _FEW < len(kinds) == len(known):
        raise DataError(f"column {name} has another value in each row ({_some(kinds)}), so it has no categories: {ways_out}")


def _some(cells: np.ndarray) -> str:
    return ", ".join(cells[:_SHOWN]) + (", …" if len(cells) > _SHOWN else "")
