"""`OwnData`: the base of sources that read a user's own files, whose targets are classes, several labels or numbers."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import BeforeValidator, model_validator

from fedlab.data import labels, several
from fedlab.data.kinds import is_numeric
from fedlab.data.source import Examples, Source
from fedlab.errors import DataError
from fedlab.tasks import Prediction, Regression
from fedlab.tasks.regression import Criterion
from fedlab.types import Dataset

# An option that is text; numbers such as the column name 3 are text, too
Text = Annotated[str, BeforeValidator(lambda value: str(value) if type(value) in (int, float) else value)]

FLOAT32_EXACT = 2**24  # float32 represents every integer up to this one exactly
_FINEST = 1e-2  # largest rounding of targets, in standard deviations


class OwnData(Source):
    """A user's own data at `path`.

    `task`: classification, with labels of any kind (`fedlab.data.labels`); multi_label, with any number of labels per example
    (`fedlab.data.several`); or regression. `loss`: of regression (`fedlab.tasks.Regression`). `scale_target`: subtracts the mean
    of the training targets and divides by their standard deviation before the loss, which `loss=poisson` does not do. Metrics
    and the saved model have the units of the data.
    """

    path: str
    task: Literal["classification", "multi_label", "regression"] = "classification"
    loss: Criterion = "mse"
    scale_target: bool = True

    locations: ClassVar[tuple[str, ...]] = (*Source.locations, "path")
    reads_several_labels: ClassVar[bool] = False  # whether it supports task=multi_label

    @model_validator(mode="after")
    def _options_of_the_task(self) -> OwnData:
        if self.task == "regression" and self.classes is not None:
            raise ValueError("classes chooses labels, and task=regression has none: leave it out")
        if self.task == "multi_label" and self.classes is not None:
            raise ValueError("classes keeps the examples of some classes, and task=multi_label has none: leave it out")
        if self.task == "multi_label" and not self.reads_several_labels:
            raise ValueError("task=multi_label reads arrays (data=npz) and tables (data=table) only")
        if self.task != "regression" and self.loss != "mse":
            raise ValueError(f"loss={self.loss} is for task=regression; {self.task} uses the cross-entropy")
        return self

    @property
    def _location(self) -> pathlib.Path:
        return pathlib.Path(self.path).expanduser()

    def files(self) -> list[pathlib.Path]:
        return [self._location]

    def verify(self) -> None:
        self._read()

    @property
    def statistics(self) -> str:
        return "the mean and the standard deviation of the targets" if self._scales else ""

    @property
    def _scales(self) -> bool:
        return self.task == "regression" and self.scale_target and self.loss != "poisson"

    def load(self, seed: int) -> Dataset:
        return Dataset(self.name, *self._with_scale(*self._divided(*self._read(), seed)))

    def _with_scale(self, train: Examples, test: Examples) -> tuple[Examples, Examples]:
        """Adds the statistics of the training targets to the task of regression. Raises `DataError`, with the path."""
        try:
            return scaled(train, test, self._scales) if self.task == "regression" else (train, test)
        except DataError as error:
            raise DataError(f"{self.path}: {error}.") from None

    def _targets(self, columns: dict[str, np.ndarray]) -> tuple[list[np.ndarray], Prediction]:
        """Returns the targets of each column, such as y and y_test, and the task. Raises `DataError`, with the path."""
        try:
            return self._numbers(columns) if self.task == "regression" else labels.encoded(columns)
        except DataError as error:
            raise DataError(f"{self.path}: {error}.") from None

    def _several(self, sets: dict[str, np.ndarray], names: Sequence[str] | None = None) -> tuple[list[np.ndarray], Prediction]:
        """Returns the targets of each set [n, L] of 0 and 1, and the task. Raises `DataError`, with the path."""
        try:
            return several.encoded(sets, names)
        except DataError as error:
            raise DataError(f"{self.path}: {error}.") from None

    def _numbers(self, columns: dict[str, np.ndarray]) -> tuple[list[np.ndarray], Prediction]:
        task, found = Regression(criterion=self.loss), []
        for name, column in columns.items():
            if column.dtype.kind not in "iufb":
                raise DataError(f"{name} must contain numbers for task=regression, not {_other_than_numbers(column)}")
            with np.errstate(over="ignore"):  # the check for infinity below reports an overflow
                y = column.astype(np.float32)
            if not np.isfinite(y).all():
                raise DataError(f"{name} has NaN, infinity, or a number too large for float32")
            rounded, spread = np.abs(y - column.astype(np.float64)).max(initial=0), y.std(dtype=np.float64)
            if rounded > _FINEST * spread and len(np.unique(column)) > 1:
                raise DataError(
                    f"{name} has numbers around {y[0]:g} that float32 rounds by up to {rounded:g}, and their standard deviation "
                    f"is only {spread:g}: subtract a constant"
                )
            if self.loss == "poisson" and (y < 0).any():
                raise DataError(f"{name} goes down to {y.min():g}; loss=poisson needs counts from 0 up")
            found.append(y)
        return found, task

    def _inputs(self, name: str, x: np.ndarray) -> np.ndarray:
        """Returns inputs [N, …] as uint8, which are images, or float32. Raises `DataError`."""
        self._require(x.dtype.kind in "iufb", f"{name} must contain numbers, not {x.dtype}")
        self._require(x.ndim >= 2 and x.size > 0, f"{name} must have shape [examples, ...] without a 0, not {x.shape}")
        if x.dtype == np.uint8:
            return x
        self._require(
            not (x.dtype.kind == "u" and x.dtype.itemsize == 2),
            f"{name} is uint16, which may be images or counts: store images as ({name} / 65535).astype('float32') or as uint8, "
            f"counts as {name}.astype('float32')",
        )
        if x.dtype.kind in "iu":
            low, high = int(x.min()), int(x.max())
            self._require(
                max(high, -low) <= FLOAT32_EXACT,
                f"{name} has integers from {low} to {high}, and float32 rounds those beyond {FLOAT32_EXACT}: scale them, or "
                f"store {name}.astype('float32') if rounding does no harm",
            )
        with np.errstate(over="ignore"):  # the check for infinity below reports an overflow
            x = x.astype(np.float32)
        self._require(bool(np.isfinite(x).all()), f"{name} has NaN, infinity, or a number too large for float32")
        return x

    def _users(self, users: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Returns the user ids [N] of `x` [N, …] as strings or int64. Raises `DataError`."""
        self._require(users.dtype.kind in "iuU", f"user_ids must contain integers or strings, not {users.dtype}")
        self._require(users.shape == x.shape[:1], f"user_ids must have shape {x.shape[:1]}, not {users.shape}")
        if users.dtype.kind == "U":
            return users
        largest = int(users.max())  # int64 would make a larger uint64 negative
        self._require(largest < 2**63, f"user_ids go up to {largest}, beyond int64: store them as user_ids.astype(str)")
        return users.astype(np.int64)

    def _require(self, holds: bool, problem: str) -> None:
        if not holds:
            raise DataError(f"{self.path}: {problem}.")


def scaled(train: Examples, test: Examples, loss_too: bool = True) -> tuple[Examples, Examples]:
    """Returns both sets with a task that scales targets by the mean and the standard deviation of the training targets.

    `loss_too`: False leaves the targets of the loss as they are; only R² subtracts the mean, which does not change it. Raises
    `DataError` if all targets are equal and would be scaled.
    """
    assert isinstance(train.task, Regression)
    center, scale = float(train.y.mean(dtype=np.float64)), float(train.y.std(dtype=np.float64))
    if loss_too and train.y.min() == train.y.max():  # the computed standard deviation would have a rounding error
        raise DataError(f"all training targets are {train.y[0]:g}, so there is nothing to learn")
    task = train.task.model_copy(update={"center": center, "scale": scale} if loss_too else {"origin": center})
    both: Any = [dataclasses.replace(examples, task=task) for examples in (train, test)]  # type: ignore[type-var]
    return both[0], both[1]


def _other_than_numbers(column: np.ndarray) -> str:
    """Returns the first value that is no number, for an error; of values that are not text, their type."""
    if column.dtype.kind != "U":
        return str(column.dtype)
    return next((f"'{value}'" for value in column if not is_numeric(np.array([value]))), "text")
