"""`Source`: the common base of all data sets: the data directory, the choice of classes, a subset, the test split."""

from __future__ import annotations

import abc
import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np
from pydantic import Field, model_validator

from fedlab.data.files import DataFile, Progress
from fedlab.errors import DataError
from fedlab.randomness import generator
from fedlab.spec import Spec
from fedlab.tasks import Classification, Prediction
from fedlab.types import Dataset, ExampleSet

_MOST_LISTED = 12  # labels that an error names
DEFAULT_TEST_FRACTION = 0.2  # for sources without a test set of their own


@dataclasses.dataclass(frozen=True)
class Published:
    """The size of a data set as its authors published it, known before any file is read."""

    train: int
    test: int  # 0: there is no test set
    classes: int
    names: tuple[str, ...] | None = None  # of the classes; None: they are called 0, 1, …

    @property
    def labels(self) -> tuple[str, ...]:
        return self.names or tuple(map(str, range(self.classes)))


class Selectable(Protocol):
    """Examples before or after they are encoded; a dataclass."""

    @property
    def y(self) -> np.ndarray: ...
    @property
    def task(self) -> Prediction: ...
    @property
    def num_classes(self) -> int: ...
    def __len__(self) -> int: ...
    def select(self, indices: np.ndarray) -> Any: ...


Examples = TypeVar("Examples", bound=Selectable)


class Source(Spec):
    """A named data set. `load` applies the options in this order: `classes`, `test_fraction`, `max_examples`.

    `dir`: the data directory; None is `$FEDLAB_DATA_DIR` or, if that is not set, `~/.cache/fedlab`.
    `classes`: keeps these labels, at least two, and renumbers them 0, 1, … in the given order. Labels are named as in the data.
    `test_fraction`: in (0, 1), the share of the training data that is drawn as the test set and replaces the source's own. None
    uses the source's own test set, or 0.2 if it has none.
    `max_examples`: positive; keeps at most this many training examples, drawn uniformly.
    """

    makes: ClassVar[Mapping[str, tuple[str, ...]]] = {"_read": ("builtins.tuple",), "load": ("fedlab.types.Dataset",)}

    dir: str | None = None
    classes: tuple[int | str, ...] | None = None
    max_examples: int | None = Field(None, gt=0)
    test_fraction: float | None = Field(None, gt=0, lt=1)

    locations: ClassVar[tuple[str, ...]] = ("dir",)
    name: ClassVar[str]
    data_files: ClassVar[tuple[DataFile, ...]] = ()
    # What `fedlab data list` prints of a source without a published size: examples, classes, users
    unread: ClassVar[tuple[str, str, str]] = ("any", "any", "optional")

    @classmethod
    def recorded_location(cls, option: str, value: Any) -> Any:
        relative = os.environ.get("FEDLAB_DATA_DIR") if option == "dir" and value is None else None
        usual = relative is None or os.path.isabs(os.path.expanduser(relative))  # this path is valid in any folder
        return super().recorded_location(option, value if usual else relative)

    @model_validator(mode="after")
    def _classes_can_exist(self) -> Source:
        if self.classes is None:
            return self
        if len(self.classes) < 2 or len(set(map(str, self.classes))) < len(self.classes):
            raise ValueError(f"classes must be two or more different labels, got {list(self.classes)}")
        if self.published and not set(map(str, self.classes)) <= set(self.published.labels):
            raise ValueError(f"{self.name} has the classes {_listed(self.published.labels)}, got {list(self.classes)}")
        return self

    @property
    def published(self) -> Published | None:
        """The size of the whole data set; None if it depends on the files."""
        return None

    @property
    def has_user_ids(self) -> bool:
        """True if every example has the id of the user who produced it. Reads at most a file's table of contents."""
        return False

    @property
    def statistics(self) -> str:
        """Returns, in words, what this source computes from all training examples to encode them; "" if nothing.

        No privacy mechanism covers these statistics.
        """
        return ""

    @property
    def remarks(self) -> tuple[str, ...]:
        """Returns lines for the user about parts of the data that are not read. Called after `load`."""
        return ()

    @property
    def num_train_examples(self) -> int | None:
        """The number of training examples that `load` returns; None if it depends on the files."""
        if self.published is None or self.classes is not None:
            return None
        held_out = 0 if self.published.test and self.test_fraction is None else self._num_test(self.published.train)
        return min(self.published.train - held_out, self.max_examples or self.published.train)

    @property
    def data_dir(self) -> pathlib.Path:
        """The directory of this source's files."""
        return pathlib.Path(self.dir or os.environ.get("FEDLAB_DATA_DIR") or "~/.cache/fedlab").expanduser()

    def files(self) -> list[pathlib.Path]:
        """Returns the files that `load` reads, including missing ones."""
        return [self.data_dir / file.path for file in self.data_files]

    def verify(self) -> None:
        """Raises `DataError` that names every file that is missing or damaged."""
        self._contents()

    def fetch(self, progress: Progress) -> None:
        """Downloads every file that is missing or damaged. Raises `DataError` that names the files still missing."""
        wanted = [file for file in self.data_files if not file.is_good(self.data_dir)]
        for position, file in enumerate(wanted):
            try:
                file.download(self.data_dir, progress)
            except DataError as error:  # stop: the next would probably fail also, each after up to half a minute
                paths = ", ".join(file.path for file in wanted[position:])
                raise DataError(f"{error}. Without a network, copy these files below {self.data_dir}: {paths}.") from None

    def load(self, seed: int) -> Dataset:
        """Returns the data set with all options applied; random draws depend on `seed` only.

        Raises `DataError` for missing or damaged files, for `classes` that the data does not have, and for empty splits.
        """
        train, test = self._divided(*self._read(), seed)
        return Dataset(self.name, train, test)

    def _divided(self, train: Examples, test: Examples | None, seed: int) -> tuple[Examples, Examples]:
        """Applies the options `classes`, `test_fraction` and `max_examples`."""
        if self.classes is not None:
            train = self._choose_classes(train)
            test = self._choose_classes(test) if test is not None else None
        if test is None or self.test_fraction is not None:
            held_out = np.zeros(len(train), bool)
            held_out[generator(seed, "test split").permutation(len(train))[: self._num_test(len(train))]] = True
            train, test = train.select(np.flatnonzero(~held_out)), train.select(np.flatnonzero(held_out))
        if self.max_examples is not None and self.max_examples < len(train):
            kept = generator(seed, "max examples").choice(len(train), self.max_examples, replace=False)
            train = train.select(np.sort(kept))
        if not len(train) or not len(test):
            raise DataError(
                f"{self.name}: {len(train)} training and {len(test)} test examples are left; neither may be 0."
                " Change data.classes, data.test_fraction or data.max_examples."
            )
        return train, test

    @abc.abstractmethod
    def _read(self) -> tuple[ExampleSet, ExampleSet | None]:
        """Returns the whole training set and the whole test set, or None if the source has no test set."""

    def _contents(self) -> list[bytes]:
        """Returns the verified content of each of `data_files`."""
        contents, problems = [], []
        for file in self.data_files:
            try:
                contents.append(file.read(self.data_dir))
            except DataError as error:
                problems.append(str(error))
        if problems:
            fetch = f"fedlab data fetch {self.name}" + (f" --dir {self.dir}" if self.dir else "")
            problem = "; ".join(problems)
            raise DataError(f"{self.name}: {problem}. Run `{fetch}`, or copy the published files below {self.data_dir}.")
        return contents

    def _num_test(self, num_examples: int) -> int:
        return round((self.test_fraction or DEFAULT_TEST_FRACTION) * num_examples)

    def _choose_classes(self, examples: Examples) -> Examples:
        assert self.classes is not None
        labels = examples.task.labels if isinstance(examples.task, Classification) else None
        names = labels or tuple(map(str, range(examples.num_classes)))
        place = {name: i for i, name in enumerate(names)}
        unknown = [label for label in self.classes if str(label) not in place]
        if unknown:
            raise DataError(f"data.classes contains {unknown}, but {self.name} has only the classes {_listed(names)}.")
        chosen_classes = [place[str(label)] for label in self.classes]
        new_label = np.full(examples.num_classes, -1, np.int32)
        new_label[chosen_classes] = np.arange(len(self.classes), dtype=np.int32)
        chosen = examples.select(np.flatnonzero(new_label[examples.y] >= 0))
        kept = tuple(names[i] for i in chosen_classes) if labels else None
        task = Classification(num_classes=len(self.classes), labels=kept)
        changed: Any = dataclasses.replace(chosen, y=new_label[chosen.y], task=task)
        return changed


def _listed(labels: Sequence[str]) -> str:
    """Returns the labels, for an error: "0 to 9", or the first ones by name."""
    if list(labels) == [str(i) for i in range(len(labels))]:
        return f"0 to {len(labels) - 1}"
    return ", ".join(labels[:_MOST_LISTED]) + (f", … ({len(labels)} labels)" if len(labels) > _MOST_LISTED else "")
