"""`Source`: what all data sets have in common: the data directory, a choice of classes, a subset, a held-out split."""

from __future__ import annotations

import abc
import dataclasses
import os
import pathlib
from typing import ClassVar

import numpy as np
from pydantic import Field, model_validator

from fedlab.data.files import DataFile, Progress
from fedlab.errors import DataError
from fedlab.randomness import generator
from fedlab.spec import Spec
from fedlab.types import Dataset, ExampleSet

DEFAULT_TEST_FRACTION = 0.2  # for sources without a test set of their own


@dataclasses.dataclass(frozen=True)
class Published:
    """The size of a data set as its authors give it, known before any file is read."""

    train: int
    test: int  # 0: there is no test set
    classes: int


class Source(Spec):
    """A named data set. `load` applies the options in this order: `classes`, `test_fraction`, `max_examples`.

    `dir`: the data directory; None is `$FEDLAB_DATA_DIR`, else `~/.cache/fedlab`.
    `classes`: keeps these labels, at least two, and renames them 0, 1, … in the order given.
    `test_fraction`: in (0, 1), the share of the training data drawn as the test set, in place of the source's own. None is the
    source's own test set, and 0.2 where it has none.
    `max_examples`: positive, keeps at most so many training examples, drawn uniformly.
    """

    dir: str | None = None
    classes: tuple[int, ...] | None = None
    max_examples: int | None = Field(None, gt=0)
    test_fraction: float | None = Field(None, gt=0, lt=1)

    name: ClassVar[str]
    data_files: ClassVar[tuple[DataFile, ...]] = ()

    @model_validator(mode="after")
    def _classes_can_exist(self) -> Source:
        if self.classes is None:
            return self
        if len(self.classes) < 2 or len(set(self.classes)) < len(self.classes) or min(self.classes) < 0:
            raise ValueError(f"classes must be two or more different labels from 0 up, got {list(self.classes)}")
        if self.published and max(self.classes) >= self.published.classes:
            raise ValueError(f"{self.name} has the classes 0 to {self.published.classes - 1}, got {list(self.classes)}")
        return self

    @property
    def published(self) -> Published | None:
        """The size of the whole data set; None where only the files can tell."""
        return None

    @property
    def has_user_ids(self) -> bool:
        """Whether every example comes with who produced it. Never reads more than a file's table of contents."""
        return False

    @property
    def num_train_examples(self) -> int | None:
        """How many training examples `load` will give; None where only the files can tell."""
        if self.published is None or self.classes is not None:
            return None
        held_out = 0 if self.published.test and self.test_fraction is None else self._num_test(self.published.train)
        return min(self.published.train - held_out, self.max_examples or self.published.train)

    @property
    def data_dir(self) -> pathlib.Path:
        """Where this source looks for its files."""
        return pathlib.Path(self.dir or os.environ.get("FEDLAB_DATA_DIR") or "~/.cache/fedlab").expanduser()

    def files(self) -> list[pathlib.Path]:
        """The files that `load` reads, whether or not they are there."""
        return [self.data_dir / file.path for file in self.data_files]

    def verify(self) -> None:
        """Raises `DataError` naming every file that is missing or damaged."""
        self._contents()

    def fetch(self, progress: Progress) -> None:
        """Downloads every file that is missing or damaged. Raises `DataError` naming those that are still to be had."""
        wanted = [file for file in self.data_files if not file.is_good(self.data_dir)]
        for position, file in enumerate(wanted):
            try:
                file.download(self.data_dir, progress)
            except DataError as error:  # the next would most likely fail as well, and each may take half a minute to do so
                paths = ", ".join(file.path for file in wanted[position:])
                raise DataError(f"{error}. Without a network, put these below {self.data_dir} yourself: {paths}.") from None

    def load(self, seed: int) -> Dataset:
        """The data set with all options applied; what is drawn at random is a function of `seed` alone.

        Raises `DataError` for missing or damaged files, for `classes` that the data lacks, and for splits that come out empty.
        """
        train, test = self._read()
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
        return Dataset(self.name, train, test)

    @abc.abstractmethod
    def _read(self) -> tuple[ExampleSet, ExampleSet | None]:
        """The whole training set and, where the source has one, the whole test set."""

    def _contents(self) -> list[bytes]:
        """The verified content of each of `data_files`."""
        contents, problems = [], []
        for file in self.data_files:
            try:
                contents.append(file.read(self.data_dir))
            except DataError as error:
                problems.append(str(error))
        if problems:
            fetch = f"fedlab data fetch {self.name}" + (f" --dir {self.dir}" if self.dir else "")
            problem = "; ".join(problems)
            raise DataError(f"{self.name}: {problem}. Run `{fetch}`, or put the published files below {self.data_dir}.")
        return contents

    def _num_test(self, num_examples: int) -> int:
        return round((self.test_fraction or DEFAULT_TEST_FRACTION) * num_examples)

    def _choose_classes(self, examples: ExampleSet) -> ExampleSet:
        assert self.classes is not None
        unknown = sorted(set(self.classes) - set(range(examples.num_classes)))
        if unknown:
            raise DataError(f"{self.name} has the classes 0 to {examples.num_classes - 1}, data.classes asks for {unknown}.")
        new_label = np.full(examples.num_classes, -1, np.int32)
        new_label[list(self.classes)] = np.arange(len(self.classes), dtype=np.int32)
        chosen = examples.select(np.flatnonzero(new_label[examples.y] >= 0))
        return dataclasses.replace(chosen, y=new_label[chosen.y], num_classes=len(self.classes))
