"""A user's own table: a CSV file, or a Parquet file, with a column of targets."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeVar

import numpy as np
from pydantic import Field, model_validator

from fedlab.data import several
from fedlab.data.cells import read_cells
from fedlab.data.columns import Categorical, Columns, Rows, encodings_of, with_encodings
from fedlab.data.kinds import check_categories, is_numeric, numbers, with_points
from fedlab.data.targets import OwnData, Text
from fedlab.errors import DataError, did_you_mean
from fedlab.tasks import Prediction
from fedlab.types import Dataset, ExampleSet

Result = TypeVar("Result")

_MOST_CATEGORIES = 200  # of a column; a column with more is probably a name or a number of the row


class Table(OwnData):
    """Rows of a CSV file (.csv, .tsv, .txt, also .gz) with a header, or of a Parquet file (.parquet, extra `arrow`).

    `path`, `test_path`: files of the training set and, if there is one, of the test set. `target`: the column of the targets.
    With task=multi_label it is a list of columns of 0 and 1, one for each label, or one column of cells such as beach|sunset,
    whose `separator` is |. An empty cell is then an example without a label; the labels are those of both files. `user`: the
    column of the users, for partition=by_user. `drop`: columns to ignore. `categorical`: columns of numbers that are categories.
    `missing`: cells that mean a missing value, numbers in any notation; an empty cell always does.

    A column is numeric if every cell that is not missing is a finite number, else categorical. A column that is probably neither
    is refused unless `categorical` names it (`fedlab.data.kinds`). Missing numbers become the median of the
    column; then the column is scaled to mean 0 and standard deviation 1. A categorical column becomes a column of 0 and 1 per
    category, all 0 if the category is missing or unknown. All statistics and categories are those of the training examples of
    all clients. x float32 [N, encoded columns].
    """

    target: Text | tuple[Text, ...]
    separator: str | None = Field(None, min_length=1)
    user: Text | None = None
    test_path: str | None = None
    drop: tuple[Text, ...] = ()
    categorical: tuple[Text, ...] = ()
    missing: tuple[Text, ...] = ("?", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "null", "NULL", "None")
    max_categories: int = Field(_MOST_CATEGORIES, gt=0)

    locations: ClassVar[tuple[str, ...]] = (*OwnData.locations, "test_path")
    name: ClassVar[str] = "table"
    reads_several_labels: ClassVar[bool] = True

    @model_validator(mode="after")
    def _targets_suit_the_task(self) -> Table:
        listed, several = isinstance(self.target, tuple), self.task == "multi_label"
        if not self._target_columns:
            raise ValueError("target=[] names no column: give the columns of the labels")
        if listed and not several:
            raise ValueError(
                f"target={list(self._target_columns)} is a list, and task={self.task} has one target: name one column"
            )
        if self.separator is not None and (listed or not several):
            raise ValueError("separator is for task=multi_label with one column of labels, such as beach|sunset: leave it out")
        if several and not listed and self.separator is None:
            raise ValueError(
                f"task=multi_label needs a list of columns of 0 and 1, such as target=[{self.target},…], or the separator of "
                "labels in one column, such as separator='|'"
            )
        return self

    @model_validator(mode="after")
    def _columns_have_one_use(self) -> Table:
        uses = [*self._target_columns, *([self.user] if self.user else []), *self.drop, *self.categorical]
        twice = sorted({name for name in uses if uses.count(name) > 1})
        if twice:
            raise ValueError(f"column {twice[0]} has two uses among target, user, drop and categorical: give it one")
        if self.test_path == self.path:
            raise ValueError("test_path and path are the same file: leave test_path out, and test_fraction draws a test set")
        if self.test_path is not None and self.test_fraction is not None:
            raise ValueError("test_fraction draws a test set, and test_path names one: give one of them")
        return self

    @property
    def _target_columns(self) -> tuple[str, ...]:
        return self.target if isinstance(self.target, tuple) else (self.target,)

    @property
    def has_user_ids(self) -> bool:
        return self.user is not None

    @property
    def statistics(self) -> str:
        return " and ".join(
            filter(
                None,
                [
                    super().statistics,
                    "the names of the labels" * bool(self.separator),
                    "medians, means, standard deviations and categories of columns",
                ],
            )
        )

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
        texts = {path: read_cells(path, self.missing, self.drop) for path in (self.path, self.test_path) if path}
        for path, cells in texts.items():
            self._check_columns(path, cells, texts[self.path])
        names = [name for name in texts[self.path] if name not in (*self._target_columns, self.user, *self.drop)]
        numeric = self._read_as_numbers(texts, names)
        ys, task = self._targets_of(texts)
        found = []
        for (path, cells), y in zip(texts.items(), ys):
            columns = {name: numbers(cells[name]) if name in numeric else cells[name] for name in names}
            users = self._user_column(path, cells) if self.user else None
            found.append(Rows(columns, y, task, users))
        return found[0], found[1] if len(found) > 1 else None

    def _targets_of(self, texts: dict[str, dict[str, np.ndarray]]) -> tuple[list[np.ndarray], Prediction]:
        """Returns the targets of each file, and the task. Raises `DataError`."""
        columns = self._target_columns
        if self.task != "multi_label":
            [name] = columns
            return self._targets({f"column {name} of {path}": _target(path, name, cells) for path, cells in texts.items()})
        if self.separator is None:
            sets = {p: self._checked(several.of_columns, p, {n: cells[n] for n in columns}) for p, cells in texts.items()}
            return self._several(sets, columns)
        [name] = columns
        joined = {f"column {name} of {path}": cells[name] for path, cells in texts.items()}
        found, names = self._checked(several.of_cells, joined, self.separator)
        if len(names) > self.max_categories:
            raise DataError(
                f"{self.path}: column {name} has {len(names):,} labels: check data.separator, or raise data.max_categories."
            )
        return self._several(found, names)

    def _read_as_numbers(self, texts: dict[str, dict[str, np.ndarray]], names: Sequence[str]) -> set[str]:
        """Returns the columns of `names` that are numeric; replaces decimal commas in `texts`. Raises `DataError`.

        Both sets decide together: a test set with a missing number only does not make categories of a column of numbers.
        """
        numeric = set()
        ends = np.cumsum([len(cells[self._target_columns[0]]) for cells in texts.values()])[:-1]
        for name in (*names, *(self._target_columns if self.separator is None else ())):  # 1,2 may be the labels 1 and 2
            whole = with_points(np.concatenate([cells[name] for cells in texts.values()]))
            for cells, part in zip(texts.values(), np.split(whole, ends)):
                cells[name] = part
            if name in self.categorical or name in self._target_columns:
                continue
            if is_numeric(whole):
                numeric.add(name)
            else:
                self._checked(check_categories, name, whole)
        return numeric

    def _check_columns(self, path: str, cells: Columns, train: Columns) -> None:
        named = [
            *(("target", name) for name in self._target_columns),
            ("user", self.user),
            *(("drop", name) for name in self.drop),
            *(("categorical", name) for name in self.categorical),
        ]
        for option, name in named:
            if name is not None and name not in cells and not (option == "drop" and name in train):
                raise DataError(
                    f"{path}: no column {name} (data.{option}).{did_you_mean(name, cells)} Columns: {', '.join(cells)}."
                )
        lacking = next((name for name in train if name not in cells and name not in self.drop), None)
        if lacking is not None:
            raise DataError(f"{path}: no column {lacking}, which {self.path} has. Columns: {', '.join(cells)}.")

    def _user_column(self, path: str, cells: Columns) -> np.ndarray:
        users = cells[str(self.user)]
        if (users == "").any():
            raise DataError(f"{path}: column {self.user} names no user in row {int(np.argmax(users == '')) + 1}: fill it in.")
        return users

    def _encoded(self, train: Rows, test: Rows) -> Dataset:
        """Returns both sets, encoded by the statistics of `train`. Raises `DataError`."""
        if not train.columns:
            raise DataError(f"{self.path}: no column is left beside the target {', '.join(self._target_columns)}.")
        encodings = self._checked(encodings_of, train)
        for encoding in encodings:  # before a column per category is made
            count = len(encoding.categories) if isinstance(encoding, Categorical) else 0
            if count > self.max_categories:
                raise DataError(
                    f"{self.path}: column {encoding.column} has {count:,} categories: leave it out with "
                    f"data.drop=[{encoding.column}], or raise data.max_categories."
                )
        return with_encodings(self.name, train, test, encodings)

    def _checked(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Calls a function, and adds the path to its `DataError`."""
        try:
            return function(*arguments)
        except DataError as error:
            raise DataError(f"{self.path}: {error}.") from None


def _target(path: str, name: str, cells: Columns) -> np.ndarray:
    """Returns the targets: numbers where all of them are. Raises `DataError` for missing ones."""
    values = cells[name]
    if (values == "").any():
        row = int(np.argmax(values == "")) + 1
        raise DataError(f"{path}: column {name}, the target, is missing in row {row}: remove the row.")
    return numbers(values) if is_numeric(values) else values
