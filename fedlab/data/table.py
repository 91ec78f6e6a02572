"""A user's own table: a CSV file, or a Parquet file, with a column of targets."""

from __future__ import annotations

import pathlib
from typing import ClassVar

import numpy as np
from pydantic import Field, model_validator

from fedlab.data.cells import read_cells
from fedlab.data.columns import Columns, Rows, encoded, is_numeric, numbers
from fedlab.data.targets import OwnData
from fedlab.errors import DataError, did_you_mean
from fedlab.types import Dataset, ExampleSet

_MOST_CATEGORIES = 200  # of a column; a column with more is probably a name or a number of the row


class Table(OwnData):
    """Rows of a CSV file (.csv, .tsv, .txt, also .gz) with a header, or of a Parquet file (.parquet, extra `arrow`).

    `path`, `test_path`: files of the training set and, if there is one, of the test set. `target`: the column of the targets.
    `user`: the column of the users, for partition=by_user. `drop`: columns to ignore. `categorical`: columns of numbers that are
    categories. `missing`: cells that mean a missing value; an empty cell always does.

    A column is numeric if every cell that is not missing is a number, else categorical. Missing numbers become the median of the
    column; then the column is scaled to mean 0 and standard deviation 1. A categorical column becomes a column of 0 and 1 per
    category, all 0 if the category is missing or unknown. All statistics and categories are those of the training examples of
    all clients. x float32 [N, encoded columns].
    """

    target: str
    user: str | None = None
    test_path: str | None = None
    drop: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    missing: tuple[str, ...] = ("?", "NA", "N/A", "NaN", "nan", "null")
    max_categories: int = Field(_MOST_CATEGORIES, gt=0)

    locations: ClassVar[tuple[str, ...]] = (*OwnData.locations, "test_path")
    name: ClassVar[str] = "table"

    @model_validator(mode="after")
    def _columns_have_one_use(self) -> Table:
        uses = [self.target, *([self.user] if self.user else []), *self.drop, *self.categorical]
        twice = sorted({name for name in uses if uses.count(name) > 1})
        if twice:
            raise ValueError(f"column {twice[0]} has two uses among target, user, drop and categorical: give it one")
        if self.test_path is not None and self.test_fraction is not None:
            raise ValueError("test_fraction draws a test set, and test_path names one: give one of them")
        return self

    @property
    def has_user_ids(self) -> bool:
        return self.user is not None

    @property
    def statistics(self) -> str:
        return " and ".join(filter(None, [super().statistics, "medians, means, standard deviations and categories of columns"]))

    def files(self) -> list[pathlib.Path]:
        return [pathlib.Path(path).expanduser() for path in (self.path, self.test_path) if path]

    def verify(self) -> None:
        self._rows()

    def load(self, seed: int) -> Dataset:
        return self._encoded(*self._with_scale(*self._divided(*self._rows(), seed)))

    def _read(self) -> tuple[ExampleSet, ExampleSet | None]:
        train, test = self._rows()
        encoded = self._encoded(train, train if test is None else test)
        return encoded.train, None if test is None else encoded.test

    def _rows(self) -> tuple[Rows, Rows | None]:
        """Returns the rows of the training set and of the test set, if there is one. Raises `DataError`."""
        texts = {path: read_cells(path, self.missing) for path in (self.path, self.test_path) if path}
        for path, cells in texts.items():
            self._check_columns(path, cells)
        names = [name for name in texts[self.path] if name not in (self.target, self.user, *self.drop)]
        numeric = {name for name in names if all(is_numeric(cells[name]) for cells in texts.values())} - {*self.categorical}
        targets = {f"column {self.target} of {path}": _target(path, self.target, cells) for path, cells in texts.items()}
        ys, task = self._targets(targets)
        found = []
        for (path, cells), y in zip(texts.items(), ys):
            columns = {name: numbers(cells[name]) if name in numeric else cells[name] for name in names}
            users = self._user_column(path, cells) if self.user else None
            found.append(Rows(columns, y, task, users))
        return found[0], found[1] if len(found) > 1 else None

    def _check_columns(self, path: str, cells: Columns) -> None:
        wanted = {"target": self.target, "user": self.user}
        named = [*wanted.items(), *(("drop", name) for name in self.drop), *(("categorical", name) for name in self.categorical)]
        for option, name in named:
            if name is not None and name not in cells:
                raise DataError(
                    f"{path}: no column {name} (data.{option}).{did_you_mean(name, cells)} Columns: {', '.join(cells)}."
                )

    def _user_column(self, path: str, cells: Columns) -> np.ndarray:
        users = cells[str(self.user)]
        if (users == "").any():
            raise DataError(f"{path}: column {self.user} names no user in row {int(np.argmax(users == '')) + 1}: fill it in.")
        return users

    def _encoded(self, train: Rows, test: Rows) -> Dataset:
        """Returns both sets, encoded by the statistics of `train`. Raises `DataError`."""
        if not train.columns:
            raise DataError(f"{self.path}: no column is left beside the target {self.target}.")
        dataset = encoded(self.name, train, test)
        for column in dataset.columns:
            count = len(column.get("categories", ()))
            if count > self.max_categories:
                raise DataError(
                    f"{self.path}: column {column['column']} has {count:,} categories: leave it out with "
                    f"data.drop=[{column['column']}], or raise data.max_categories."
                )
        return dataset


def _target(path: str, name: str, cells: Columns) -> np.ndarray:
    """Returns the targets: numbers where all of them are. Raises `DataError` for missing ones."""
    values = cells[name]
    if (values == "").any():
        row = int(np.argmax(values == "")) + 1
        raise DataError(f"{path}: column {name}, the target, is missing in row {row}: remove the row.")
    return numbers(values) if is_numeric(values) else values
