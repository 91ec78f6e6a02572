"""Encodes the columns of a table as numbers, by statistics of the training set."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Numeric:
    """A column of numbers. A missing one becomes `median`; then the column is (value − `mean`) / `std`."""

    column: str
    median: float
    mean: float
    std: float  # 1 if all values are equal

    @classmethod
    def of(cls, column: str, values: np.ndarray) -> Numeric:
        """Returns the encoding of float64 [N], NaN where a value is missing."""
        known = values[~np.isnan(values)]
        median = float(np.median(known)) if len(known) else 0.0
        filled = np.where(np.isnan(values), median, values)
        return cls(column, median, float(filled.mean()), float(filled.std()) or 1.0)

    def encoded(self, values: np.ndarray) -> np.ndarray:
        """Returns float64 [N, 1]."""
        return (np.where(np.isnan(values), self.median, values)[:, None] - self.mean) / self.std


@dataclasses.dataclass(frozen=True)
class Categorical:
    """A column of categories: 0 or 1 for each of `categories`; all 0 for a missing value and for another category."""

    column: str
    categories: tuple[str, ...]

    @classmethod
    def of(cls, column: str, values: np.ndarray) -> Categorical:
        """Returns the encoding of str [N], "" where a value is missing."""
        return cls(column, tuple(map(str, np.unique(values[values != ""]))))

    def encoded(self, values: np.ndarray) -> np.ndarray:
        """Returns bool [N, number of categories]."""
        return values[:, None] == np.array(self.categories, str)[None]


Encoding = Numeric | Categorical


def encoding_of(column: str, values: np.ndarray) -> Encoding:
    """Returns the encoding of a column of the training set: float64 [N] or str [N]."""
    return Numeric.of(column, values) if values.dtype.kind == "f" else Categorical.of(column, values)


def described(encoding: Encoding) -> dict[str, Any]:
    """Returns the entry of the manifest."""
    return {"kind": type(encoding).__name__.lower(), **dataclasses.asdict(encoding)}


def numbers(cells: np.ndarray) -> np.ndarray:
    """Returns cells, "" where a value is missing, as float64 with NaN there."""
    return np.where(cells == "", "nan", cells).astype(np.float64)


def is_numeric(cells: np.ndarray) -> bool:
    """Returns True if every cell that is not missing is a finite number, and one is not missing."""
    try:
        known = cells[cells != ""].astype(np.float64)
    except ValueError:
        return False
    return len(known) > 0 and bool(np.isfinite(known).all())
