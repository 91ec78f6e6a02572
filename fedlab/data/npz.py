"""A user's own arrays, from one `.npz` file."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from fedlab.arrays import read_arrays
from fedlab.data.targets import OwnData
from fedlab.errors import DataError, one_line
from fedlab.tasks import Prediction
from fedlab.types import ExampleSet


class Npz(OwnData):
    """Any arrays: `x` [N, ...], `y` [N] or [N, 1], and optionally `user_ids` [N], and `x_test`, `y_test` together. Other arrays
    [N] of text or numbers are attributes of the training examples, for partition=dirichlet.

    With task=multi_label, `y` [N, L] is 1 for each of the L labels that an example has, else 0, and `label_names` [L], which may
    be left out, names the labels. `x_train` and `y_train` are also read as `x` and `y`.

    `path`: a file that `numpy.savez` wrote. `x`: uint8 is an image and is scaled to [0, 1] inside the graph; all other numbers
    become float32 and are not scaled. Integers beyond 2^24 are refused, because float32 would round them, and uint16, because it
    may be an image or a count. `y`: labels of any kind, or numbers with task=regression. `user_ids`: signed 64-bit integers, or
    strings.
    """

    name: ClassVar[str] = "npz"
    reads_several_labels: ClassVar[bool] = True

    @property
    def has_user_ids(self) -> bool:
        try:
            with zipfile.ZipFile(self._location) as archive:
                return not {"user_ids", "user_ids.npy"}.isdisjoint(archive.namelist())
        except Exception as error:  # OSError, or one of zipfile's own errors
            raise self._unreadable(error) from None

    def examples(self) -> ExampleSet:
        """Returns all of `x`, `y` and `user_ids`, without a split and without any option applied. Raises `DataError`."""
        return self._read()[0]

    def _read(self) -> tuple[ExampleSet, ExampleSet | None]:
        try:
            arrays = read_arrays(self._location)
        except (OSError, ValueError) as error:
            raise self._unreadable(error) from None
        if {"x_train", "y_train"} <= set(arrays) and not {"x", "y"} & set(arrays):  # as Keras names them
            arrays = {{"x_train": "x", "y_train": "y"}.get(name, name): array for name, array in arrays.items()}
        self._require({"x", "y"} <= set(arrays), f"the file must have the arrays x and y, and has {sorted(arrays)}")
        self._require(("x_test" in arrays) == ("y_test" in arrays), "the file must have both x_test and y_test, or neither")

        parts = ("", "_test") if "x_test" in arrays else ("",)
        x = [self._inputs(f"x{part}", arrays[f"x{part}"]) for part in parts]
        y, task = self._targets_of(arrays, parts)
        users = self._users(arrays["user_ids"], x[0]) if "user_ids" in arrays else None
        own = {"x", "y", "x_test", "y_test", "user_ids", "label_names"}
        also = {k: a for k, a in arrays.items() if k not in own and a.shape == x[0].shape[:1] and a.dtype.kind in "biufU"}
        train = ExampleSet(x[0], y[0], user_ids=users, task=task, attributes=also)
        if len(parts) == 1:
            return train, None
        alike = x[1].dtype == x[0].dtype and x[1].shape[1:] == x[0].shape[1:]
        self._require(
            alike, f"x_test is {x[1].dtype} {x[1].shape}, x is {x[0].dtype} {x[0].shape}; only the first axis may differ"
        )
        return train, ExampleSet(x[1], y[1], task=task)

    def _targets_of(self, arrays: Mapping[str, np.ndarray], parts: Sequence[str]) -> tuple[list[np.ndarray], Prediction]:
        """Returns the targets of both sets, and the task."""
        if self.task != "multi_label":
            columns = {f"y{part}": self._column(f"y{part}", arrays[f"y{part}"], arrays[f"x{part}"]) for part in parts}
            return self._targets(columns)
        sets = {f"y{part}": arrays[f"y{part}"] for part in parts}
        for part, y in zip(parts, sets.values()):
            n = len(arrays[f"x{part}"])
            good = y.ndim == 2 and len(y) == n and y.shape[1] > 0
            self._require(good, f"y{part} must have shape ({n}, number of labels) for task=multi_label, not {y.shape}")
        names = arrays.get("label_names")
        if names is not None:
            width = sets["y"].shape[1]
            good = names.shape == (width,) and names.dtype.kind in "iuU" and len(np.unique(names)) == width
            self._require(good, f"label_names must be {width} different strings or integers, one for each column of y")
        return self._several(sets, names if names is None else names.tolist())

    def _column(self, name: str, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Returns `y` as [N]."""
        self._require(
            y.shape in (x.shape[:1], (*x.shape[:1], 1)),
            f"{name} must have shape {x.shape[:1]}, one label or number per example, not {y.shape}"
            + (
                f": of one-hot labels, store {name}.argmax(axis=1); of several labels per example, set data.task=multi_label"
                if y.ndim == 2
                else ""
            ),
        )
        return y.reshape(-1)

    def _unreadable(self, error: Exception) -> DataError:
        if isinstance(error, FileNotFoundError):
            return DataError(f"{self.path}: no such file. Set data.path to an .npz file with the arrays x and y.")
        reason = (error.strerror if isinstance(error, OSError) else None) or one_line(error)
        return DataError(f"{self.path}: not a readable .npz file ({reason}). Write one with numpy.savez(path, x=…, y=…).")
