"""A user's own arrays, from one `.npz` file."""

from __future__ import annotations

import pathlib
import zipfile
import zlib
from typing import ClassVar

import numpy as np

from fedlab.data.source import Source
from fedlab.errors import DataError
from fedlab.types import ExampleSet

FLOAT32_EXACT = 2**24  # float32 holds every integer up to here


class Npz(Source):
    """Any labelled arrays: `x` [N, ...], `y` [N], and optionally `user_ids` [N], and `x_test`, `y_test` together.

    `path`: a file as `numpy.savez` writes it. `x`: uint8 stays as it is (an image, scaled to [0, 1] inside the graph); every
    other number becomes float32, rounded where it is a float64, and is used as it is. Refused: integers beyond 2^24, which
    float32 would round, and uint16, of which nobody can say whether it is to be scaled. `y`: integers from 0 up; the largest
    tells the number of classes. `user_ids`: integers of 64 bits with a sign, or strings.
    """

    path: str

    name: ClassVar[str] = "npz"

    @property
    def has_user_ids(self) -> bool:
        try:
            with zipfile.ZipFile(self._file) as archive:
                return "user_ids.npy" in archive.namelist()
        except (OSError, zipfile.BadZipFile) as error:
            raise self._unreadable(error) from None

    @property
    def _file(self) -> pathlib.Path:
        return pathlib.Path(self.path).expanduser()

    def files(self) -> list[pathlib.Path]:
        return [self._file]

    def verify(self) -> None:
        self._read()

    def examples(self) -> ExampleSet:
        """All of `x`, `y` and `user_ids`, undivided and with no option applied. Raises `DataError`."""
        return self._read()[0]

    def _read(self) -> tuple[ExampleSet, ExampleSet | None]:
        try:
            with open(self._file, "rb") as file:  # numpy leaves a file that it opened itself open when it is damaged
                archive = np.load(file, allow_pickle=False)
                if isinstance(archive, np.ndarray):
                    raise ValueError("a single array, not an archive of named arrays")
                arrays = {name: archive[name] for name in archive.files}
        except (OSError, ValueError, EOFError, zlib.error, zipfile.BadZipFile) as error:
            raise self._unreadable(error) from None
        self._require({"x", "y"} <= set(arrays), f"needs the arrays x and y, has {sorted(arrays)}")
        self._require(("x_test" in arrays) == ("y_test" in arrays), "needs x_test and y_test together, or neither")

        x, y = self._inputs("x", arrays["x"]), self._labels("y", arrays["y"], arrays["x"])
        users = self._users(arrays["user_ids"], x) if "user_ids" in arrays else None
        if "x_test" not in arrays:
            return ExampleSet(x, y, self._num_classes(y), users), None
        x_test, y_test = self._inputs("x_test", arrays["x_test"]), self._labels("y_test", arrays["y_test"], arrays["x_test"])
        alike = x_test.dtype == x.dtype and x_test.shape[1:] == x.shape[1:]
        self._require(alike, f"x_test is {x_test.dtype} {x_test.shape}, x is {x.dtype} {x.shape}; only the first axis may differ")
        num_classes = self._num_classes(np.concatenate([y, y_test]))
        return ExampleSet(x, y, num_classes, users), ExampleSet(x_test, y_test, num_classes)

    def _inputs(self, name: str, x: np.ndarray) -> np.ndarray:
        self._require(x.dtype.kind in "iufb", f"{name} must hold numbers, not {x.dtype}")
        self._require(x.ndim >= 2 and x.size > 0, f"{name} must have shape [examples, ...] with none of them 0, not {x.shape}")
        if x.dtype == np.uint8:
            return x
        self._require(
            not (x.dtype.kind == "u" and x.dtype.itemsize == 2),
            f"{name} is uint16, which may be images or counts: store images as ({name} / 65535).astype('float32'), or as uint8, "
            f"and counts as {name}.astype('float32')",
        )
        if x.dtype.kind in "iu":
            low, high = int(x.min()), int(x.max())
            self._require(
                max(high, -low) <= FLOAT32_EXACT,
                f"{name} holds integers from {low} to {high}, and float32 rounds those beyond {FLOAT32_EXACT}: scale them, or "
                f"store {name}.astype('float32') where rounding does no harm",
            )
        with np.errstate(over="ignore"):  # an overflow is reported as what it leads to
            x = x.astype(np.float32)
        self._require(bool(np.isfinite(x).all()), f"{name} holds NaN, infinity, or a number that float32 cannot")
        return x

    def _labels(self, name: str, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        self._require(y.dtype.kind in "iu", f"{name} must hold integers, not {y.dtype}")
        self._require(y.shape == x.shape[:1], f"{name} must have shape {x.shape[:1]}, one label per example, not {y.shape}")
        in_range = y.min() >= 0 and y.max() < 2**31
        self._require(in_range, f"{name} must hold labels from 0 up, has {y.min()} to {y.max()}")
        return y.astype(np.int32)

    def _num_classes(self, labels: np.ndarray) -> int:
        found = np.unique(labels)
        gaps = f"its labels are {found[0]} to {found[-1]} with {len(found)} different ones; they must be 0, 1, … without a gap"
        self._require(found[-1] + 1 == len(found), f"{gaps}: numpy.unique(y, return_inverse=True)[1] makes them so")
        return len(found)

    def _users(self, users: np.ndarray, x: np.ndarray) -> np.ndarray:
        self._require(users.dtype.kind in "iuU", f"user_ids must hold integers or strings, not {users.dtype}")
        self._require(users.shape == x.shape[:1], f"user_ids must have shape {x.shape[:1]}, not {users.shape}")
        if users.dtype.kind == "U":
            return users
        largest = int(users.max())  # of uint64, which would become negative
        self._require(largest < 2**63, f"user_ids go up to {largest}, beyond int64: store them as strings, user_ids.astype(str)")
        return users.astype(np.int64)

    def _require(self, holds: bool, problem: str) -> None:
        if not holds:
            raise DataError(f"{self.path}: {problem}.")

    def _unreadable(self, error: Exception) -> DataError:
        if isinstance(error, FileNotFoundError):
            return DataError(f"{self.path}: no such file. data.path names an .npz file with the arrays x and y.")
        reason = str(error).splitlines()[0]
        return DataError(f"{self.path}: not a readable .npz file ({reason}). Write one with numpy.savez(path, x=…, y=…).")
