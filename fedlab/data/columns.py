"""Encodes the columns of a table as numbers, by statistics of the training set."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from fedlab.tasks import Prediction
from fedlab.types import Dataset, ExampleSet

Columns = Mapping[str, np.ndarray]  # name → float64 [N] with NaN for missing values, or str [N] with "" for missing values


@dataclasses.dataclass(frozen=True, eq=False)
class Rows:
    """Rows of a table before they are encoded."""

    columns: Columns
    y: np.ndarray
    task: Prediction
    user_ids: np.ndarray | None

    def __len__(self) -> int:
        return len(self.y)

    @property
    def num_classes(self) -> int:
        """Returns the number of classes; 0 if the targets are numbers."""
        return self.task.num_classes or 0

    def select(self, indices: np.ndarray) -> Rows:
        """Returns the rows at `indices` [M], in that order."""
        columns = {name: values[indices] for name, values in self.columns.items()}
        ids = None if self.user_ids is None else self.user_ids[indices]
        return dataclasses.replace(self, columns=columns, y=self.y[indices], user_ids=ids)


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


def encoded(name: str, train: Rows, test: Rows) -> Dataset:
    """Returns the data set `name` of both sets, encoded by the statistics of `train`."""
    encodings = [encoding_of(column, values) for column, values in train.columns.items()]
    sets = []
    for rows in (train, test):
        x = np.concatenate([each.encoded(rows.columns[each.column]) for each in encodings], axis=1, dtype=np.float64)
        sets.append(ExampleSet(x.astype(np.float32), rows.y, user_ids=rows.user_ids, task=rows.task))
    return Dataset(name, sets[0], sets[1], tuple(map(described, encodings)))


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
