"""Encodes the columns of a table as numbers, by statistics of the training set."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fedlab.errors import DataError
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
        """Returns the encoding of float64 [N], NaN where a value is missing. Raises `DataError` if it is not finite."""
        known = values[~np.isnan(values)]
        with np.errstate(over="ignore"):  # numbers near the largest float64; refused below
            median = float(np.median(known)) if len(known) else 0.0
        filled = np.where(np.isnan(values), median, values)
        if filled.min() == filled.max():  # the computed mean and standard deviation would have rounding errors
            return cls(column, median, float(filled[0]), 1.0)
        with np.errstate(over="ignore", invalid="ignore"):
            mean, std = float(filled.mean()), float(filled.std())
        if not 0 < std < np.inf:
            raise DataError(f"column {column} has numbers too large or too close to scale: from {filled.min()} to {filled.max()}")
        return cls(column, median, mean, std)

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
    return with_encodings(name, train, test, encodings_of(train))


def encodings_of(train: Rows) -> list[Encoding]:
    """Returns the encoding of each column of the training set. Raises `DataError` for numbers that cannot be scaled."""
    return [encoding_of(column, values) for column, values in train.columns.items()]


def with_encodings(name: str, train: Rows, test: Rows, encodings: Sequence[Encoding]) -> Dataset:
    """Returns the data set `name` of both sets, encoded by `encodings`."""
    sets = []
    for rows in (train, test):
        x = np.concatenate([each.encoded(rows.columns[each.column]) for each in encodings], axis=1, dtype=np.float64)
        sets.append(ExampleSet(x.astype(np.float32), rows.y, user_ids=rows.user_ids, task=rows.task, attributes=rows.columns))
    return Dataset(name, sets[0], sets[1], tuple(map(described, encodings)))
