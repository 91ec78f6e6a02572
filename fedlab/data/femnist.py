"""FEMNIST, as the programs of LEAF write it: JSON."""

from __future__ import annotations

import functools
import json
import pathlib
import re
from typing import Any, ClassVar

import numpy as np

from fedlab.data.characters import NUM_CLASSES, SIDE, case_merged, checked_labels, white_on_black
from fedlab.data.source import Source
from fedlab.errors import DataError, one_line
from fedlab.types import ExampleSet

_NUM_PIXELS = SIDE * SIDE


class Femnist(Source):
    """Handwritten characters by writer in the JSON files of LEAF (Caldas et al. 2018): 62 classes, user ids such as f0000_14.

    `path`: a folder. If it has the folders train and test, which LEAF's splitting writes, they are the two sets. Otherwise its
    `.json` files are the data, or those in its folder all_data, and `test_fraction` draws the test set.
    `merge_case`: merges upper and lower case, which leaves 36 classes.
    x uint8 [N, 28, 28, 1], white on black like MNIST, in the order of the files and of their lists `users`.
    """

    path: str
    merge_case: bool = False

    locations: ClassVar[tuple[str, ...]] = (*Source.locations, "path")
    name: ClassVar[str] = "femnist"
    unread: ClassVar[tuple[str, str, str]] = ("any", str(NUM_CLASSES), "yes")

    @property
    def has_user_ids(self) -> bool:
        return True

    @property
    def _folder(self) -> pathlib.Path:
        return pathlib.Path(self.path).expanduser()

    def files(self) -> list[pathlib.Path]:
        train, test = self._files()
        return train + test

    def verify(self) -> None:
        self._read()

    def _files(self) -> tuple[list[pathlib.Path], list[pathlib.Path]]:
        """Returns the files of the training set and of the test set, which may have none. Raises `DataError`."""
        folder = self._folder
        if not folder.is_dir():
            problem = "is a file, not a folder" if folder.exists() else "no such folder"
            raise DataError(f"{folder}: {problem}. Set data.path to a folder of LEAF's JSON files.")
        if (folder / "train").is_dir():
            train, test = _json_files(folder / "train"), _json_files(folder / "test")
            if not train:
                raise DataError(f"{folder / 'train'}: no .json file.")
            if not test and self.test_fraction is None:
                raise DataError(
                    f"{folder / 'test'}: no .json file, so there is no test set. Add it, or set data.test_fraction=0.1 to draw "
                    "one from the training data."
                )
            return train, test if self.test_fraction is None else []
        train = _json_files(folder) or _json_files(folder / "all_data")
        if not train:
            raise DataError(f"{folder}: it has neither a folder train nor .json files. Set data.path to the folder that has.")
        return train, []

    def _read(self) -> tuple[ExampleSet, ExampleSet | None]:
        train, test = (_read_files(files) if files else None for files in self._files())
        assert train is not None
        if self.merge_case:
            train, test = case_merged(train), case_merged(test) if test is not None else None
        return train, test


def _json_files(folder: pathlib.Path) -> list[pathlib.Path]:
    """Returns the .json files in a folder in the order of the numbers in their names; none if there is no such folder."""

    def key(path: pathlib.Path) -> list[tuple[int, str]]:
        return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"([0-9]+)", path.name)]

    return sorted((path for path in folder.glob("*.json") if path.is_file()), key=key)


def _read_files(files: list[pathlib.Path]) -> ExampleSet:
    """Returns the examples of all users. Raises `DataError`, one line, that names the file."""
    images, labels, users = [], [], []
    file_of: dict[str, pathlib.Path] = {}
    for path in files:
        try:
            for user, x, y in _users_of(_parsed(path)):
                if user in file_of:
                    raise ValueError(f"user {user} is in {file_of[user].name} also: keep the files of one data set in a folder")
                file_of[user] = path
                images.append(x)
                labels.append(y)
                users.append(np.full(len(y), user))
        except MemoryError:
            raise DataError(f"{path}: the file does not fit into the memory.") from None
        except RecursionError:
            raise DataError(f"{path}: not a JSON file of LEAF (too many nested lists).") from None
        except (OSError, ValueError) as error:
            reason = (error.strerror if isinstance(error, OSError) else None) or one_line(error)
            raise DataError(f"{path}: not a JSON file of LEAF ({reason}).") from None
    if not sum(map(len, labels)):
        raise DataError(f"{files[0].parent}: its files have no examples.")
    return ExampleSet(np.concatenate(images), np.concatenate(labels), NUM_CLASSES, np.concatenate(users))


def _parsed(path: pathlib.Path) -> Any:
    # An image has at most 256 levels: one number object per level instead of one per pixel takes a quarter of the memory
    level = functools.lru_cache(maxsize=4096)(float)
    with open(path, encoding="utf-8") as file:
        return json.load(file, parse_float=level, parse_constant=_refused)


def _refused(name: str) -> float:
    raise ValueError(f"{name} is no pixel")


def _users_of(content: Any) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Returns name, images uint8 [n, 28, 28, 1] and labels int32 [n] of each user. Raises `ValueError` for any other content."""
    users, sizes, data = (
        _member(content, "the file", key, kind) for key, kind in (("users", list), ("num_samples", list), ("user_data", dict))
    )
    if len(users) != len(sizes):
        raise ValueError(f"users has {len(users):,} entries, num_samples {len(sizes):,}")
    found = []
    for user, size in zip(users, sizes):
        if not isinstance(user, str):
            raise ValueError(f"users must be texts, not {user!r}")
        if user not in data:
            raise ValueError(f"user_data has no user {user}")
        x, y = (_member(data[user], f"user {user}", key, list) for key in "xy")
        if len(y) != size:
            raise ValueError(f"user {user}: num_samples is {size}, and there are {len(y):,} labels")
        try:
            found.append((user, *_arrays(x, y)))
        except ValueError as error:
            raise ValueError(f"user {user}: {error}") from None
    return found


def _member(content: Any, owner: str, key: str, kind: type) -> Any:
    value = content.get(key) if isinstance(content, dict) else None
    if not isinstance(value, kind):
        raise ValueError(f"{owner} must be an object with a {'list' if kind is list else 'object'} {key}")
    return value


def _arrays(x: list[Any], y: list[Any]) -> tuple[np.ndarray, np.ndarray]:
    for row in x:
        if not isinstance(row, list) or len(row) != _NUM_PIXELS:
            found = f"one has {len(row):,}" if isinstance(row, list) else "one is no list"
            raise ValueError(f"an image must be a list of {_NUM_PIXELS} pixels, and {found}")
    pixels = np.asarray(x) if x else np.zeros((0, _NUM_PIXELS))
    labels = np.asarray(y) if y else np.zeros(0, np.int64)
    if pixels.ndim != 2:
        raise ValueError("a pixel must be a number")
    return white_on_black(pixels.reshape(-1, SIDE, SIDE)), checked_labels(labels, len(pixels))
