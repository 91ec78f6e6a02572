"""A data set of Hugging Face's library `datasets`, as `save_to_disk` writes it. Needs pyarrow, not the library."""

from __future__ import annotations

import functools
import pathlib
from typing import Any, ClassVar

import numpy as np
from pydantic import PositiveInt

from fedlab.data.pixels import Color, decoded
from fedlab.data.targets import OwnData, Text
from fedlab.errors import DataError, did_you_mean, one_line
from fedlab.fingerprint import parsed_json
from fedlab.tasks import Classification, Prediction
from fedlab.types import ExampleSet

_TEST_SETS = ("test", "validation")  # the first of these splits is the test set


class HuggingFace(OwnData):
    """A folder of `Dataset.save_to_disk` or `DatasetDict.save_to_disk`.

    `path`: the folder. Of a `DatasetDict`, the splits train and test are the two sets; without a split test, validation is the
    test set unless `test_fraction` draws one. Other splits are not read, and the run says so. `input`: the column of inputs:
    images, or numbers in lists of one length, which become x as in `fedlab.data.Npz`. `target`: the column of labels of any kind,
    or of numbers with task=regression. `user`: the column of the users, for partition=by_user. `size` and `color` of images: as
    in `fedlab.data.Images`.
    """

    input: Text
    target: Text
    user: Text | None = None
    size: tuple[PositiveInt, PositiveInt] | None = None
    color: Color = "auto"

    name: ClassVar[str] = "hf"

    @property
    def has_user_ids(self) -> bool:
        return self.user is not None

    def _read(self) -> tuple[ExampleSet, ExampleSet | None]:
        folders = self._folders()
        tables = {split: self._table(folder) for split, folder in folders.items()}
        inputs = self._inputs_of({split: table.column(self.input) for split, table in tables.items()})
        targets, task = self._targets_of(folders["train"], tables)
        users = None
        if self.user is not None:
            column = tables["train"].column(self.user)
            if column.null_count:
                raise DataError(f"{self.path}: column {self.user} has rows without a user: fill them in.")
            users = self._users(np.array(column.to_pylist()), inputs[0])
        train = ExampleSet(inputs[0], targets[0], user_ids=users, task=task, attributes=self._attributes(tables["train"]))
        return train, ExampleSet(inputs[1], targets[1], task=task) if len(inputs) > 1 else None

    def _attributes(self, table: Any) -> dict[str, np.ndarray]:
        """Returns the other columns of text, booleans or numbers; a missing text is "", other columns with missing cells are left
        out."""
        import pyarrow

        found = {}
        for name in table.column_names:
            column, kind = table.column(name), table.column(name).type
            if name in (self.input, self.target, self.user):
                continue
            if pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind):
                found[name] = np.array(["" if value is None else value for value in column.to_pylist()], str)
            elif not column.null_count and (
                pyarrow.types.is_integer(kind) or pyarrow.types.is_floating(kind) or pyarrow.types.is_boolean(kind)
            ):
                found[name] = np.array(column.to_pylist())
        return found

    def _folders(self) -> dict[str, pathlib.Path]:
        """Returns the folder of the training set, and of the test set if there is one."""
        place = self._location
        listing = place / "dataset_dict.json"
        if not listing.is_file():
            return {"train": place}
        splits = self._json(listing).get("splits", [])
        if "train" not in splits:
            raise DataError(f"{self.path}: no split train; there are {', '.join(map(str, splits)) or 'none'}.")
        usable = _TEST_SETS if self.test_fraction is None else _TEST_SETS[:1]
        held_out = next((split for split in usable if split in splits), None)
        return {"train": place / "train", **({} if held_out is None else {held_out: place / held_out})}

    @property
    def remarks(self) -> tuple[str, ...]:
        """Returns a line about the split that is the test set for lack of another, and about splits that are not read."""
        read = list(self._folders())
        unread = [split for split in self._splits if split not in read]
        found = [f"the split {name} is the test set, because there is no split test" for name in read if name in _TEST_SETS[1:]]
        if unread:
            found.append(f"{'split' if len(unread) == 1 else 'splits'} not read: {', '.join(unread)}")
        return tuple(found)

    @property
    def _splits(self) -> list[str]:
        listing = self._location / "dataset_dict.json"
        return list(map(str, self._json(listing).get("splits", []))) if listing.is_file() else []

    def _table(self, folder: pathlib.Path) -> Any:
        """Returns the Arrow table of a split, with the columns that are used."""
        try:
            import pyarrow
        except ImportError:
            raise DataError("data=hf needs pyarrow: pip install 'fedlab-runner[arrow]'.") from None
        state = self._json(folder / "state.json")
        try:
            parts = []
            for entry in state["_data_files"]:
                with pyarrow.memory_map(str(folder / entry["filename"])) as file:
                    parts.append(pyarrow.ipc.open_stream(file).read_all())
            table = pyarrow.concat_tables(parts)
        except (OSError, KeyError, TypeError, pyarrow.ArrowException) as error:
            raise DataError(f"{folder}: not a readable data set ({one_line(error)}). Write it with save_to_disk.") from None
        names = table.column_names
        for option in ("input", "target", "user"):
            name = getattr(self, option)
            if name is not None and name not in names:
                hint = did_you_mean(name, names)
                raise DataError(f"{self.path}: no column {name} (data.{option}).{hint} Columns: {', '.join(names)}.")
        return table

    def _inputs_of(self, columns: dict[str, Any]) -> list[np.ndarray]:
        """Returns x of each split."""
        import pyarrow

        first = columns["train"].type
        for split, column in columns.items():
            self._require(column.type == first, f"column {self.input} is {first} in train and {column.type} in {split}")
        if pyarrow.types.is_struct(first) and first.get_field_index("bytes") >= 0:
            for split, column in columns.items():
                self._require(not column.null_count, f"column {self.input} of {split} has rows without an image: remove them")
            files = [
                (f"{split} {i}", functools.partial(image.get, "bytes"))
                for split, column in columns.items()
                for i, image in enumerate(column.to_pylist())
            ]
            pixels = decoded(files, self.path, self.size, self.color)
            return np.split(pixels, np.cumsum([len(column) for column in columns.values()])[:-1])
        found = {split: self._inputs(f"{self.input} of {split}", self._lists(column)) for split, column in columns.items()}
        for split, x in found.items():
            shape, expected = x.shape[1:], found["train"].shape[1:]
            self._require(shape == expected, f"column {self.input} has shape {expected} in train and {shape} in {split}")
        return list(found.values())

    def _lists(self, column: Any) -> np.ndarray:
        """Returns numbers, in lists of one length, as an array [N, …]."""
        import pyarrow

        values, shape = column.combine_chunks(), [len(column)]
        while pyarrow.types.is_list(values.type) or pyarrow.types.is_fixed_size_list(values.type):
            inner = values.flatten()
            lengths = set(values.value_lengths().to_pylist())
            self._require(len(lengths) == 1 and None not in lengths, f"the lists of column {self.input} have different lengths")
            values, shape = inner, [*shape, lengths.pop()]
        kind = values.type
        is_number = pyarrow.types.is_integer(kind) or pyarrow.types.is_floating(kind)
        usable = is_number and not values.null_count
        self._require(usable, f"column {self.input} is {column.type}: give images, or lists of numbers without missing ones")
        return values.to_numpy(zero_copy_only=False).reshape(shape)

    def _targets_of(self, folder: pathlib.Path, tables: dict[str, Any]) -> tuple[list[np.ndarray], Prediction]:
        """Returns y of each split, and the task. The names of a ClassLabel are the labels."""
        columns = {f"{self.target} of {split}": table.column(self.target) for split, table in tables.items()}
        for name, column in columns.items():
            self._require(not column.null_count, f"{name} has rows without a target: remove them")
        import pyarrow

        for name, column in columns.items():
            self._require(not pyarrow.types.is_nested(column.type), f"{name} is {column.type}: give one label or number per row")
        values = {name: np.array(column.to_pylist()) for name, column in columns.items()}
        feature = self._json(folder / "dataset_info.json").get("features", {}).get(self.target, {})
        names = feature.get("names") if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" else None
        if not names or self.task == "regression":
            return self._targets(values)
        for name, y in values.items():
            inside = 0 <= y.min() <= y.max() < len(names)
            hint = "; -1 means no label: draw a test set of train with data.test_fraction" if -1 in y and "test" in tables else ""
            self._require(inside, f"{name} has labels outside of its {len(names)} names{hint}")
        task = Classification(num_classes=len(names), labels=tuple(map(str, names)))
        return [y.astype(np.int32) for y in values.values()], task

    def _json(self, path: pathlib.Path) -> dict[str, Any]:
        try:
            found = parsed_json(path.read_bytes())
        except (OSError, ValueError) as error:
            reason = "no such file" if isinstance(error, FileNotFoundError) else one_line(error)
            raise DataError(f"{path}: {reason}. Set data.path to a folder that save_to_disk has written.") from None
        if not isinstance(found, dict):
            raise DataError(f"{path}: not as save_to_disk writes it.")
        return found
