"""Federated EMNIST, as TensorFlow Federated ships it, or shipped it."""

from __future__ import annotations

import dataclasses
import lzma
import os
import pathlib
import sqlite3
import tempfile
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import model_validator

from fedlab.data.characters import NUM_CLASSES, NUM_DIGITS, NUM_MERGED, case_merged
from fedlab.data.files import Progress
from fedlab.data.source import Published, Source
from fedlab.data.tff_hdf5 import read_clients, test_set_of
from fedlab.errors import DataError
from fedlab.tasks import Classification
from fedlab.types import ExampleSet

if TYPE_CHECKING:
    import tensorflow_federated as tff

DATABASE = "emnist_all.sqlite"  # TFF's name for the file
BATCH_SIZE = 4096
_SIZES = {True: (341_873, 40_832), False: (671_585, 77_483)}  # of the published sets, by only_digits


class Emnist(Source):
    """Handwritten characters by writer (Cohen et al. 2017, Caldas et al. 2018), through TFF's loader or from TFF's HDF5 files.

    `only_digits`: 10 classes and 3,383 writers; if false, 62 classes (digits, upper case, lower case) and 3,400 writers.
    `merge_case`: merges upper and lower case: 26 is subtracted from labels of 36 and more, which leaves 36 classes.
    `path`: TFF's HDF5 file of training data, such as fed_emnist_digitsonly_train.h5. The file of the test set (…_test.h5) is in
    the same folder, unless `test_fraction` draws the test set. None reads the SQLite database in the data directory; the first
    `load` downloads it, and every `load` imports TensorFlow.
    x uint8 [N, 28, 28, 1], white on black like MNIST. In the published files, every writer has examples in train and in test.
    """

    only_digits: bool = True
    merge_case: bool = False
    path: str | None = None

    locations: ClassVar[tuple[str, ...]] = (*Source.locations, "path")
    name: ClassVar[str] = "emnist"

    @model_validator(mode="after")
    def _case_needs_letters(self) -> Emnist:
        if self.merge_case and self.only_digits:
            raise ValueError("merge_case needs letters: set only_digits=false also")
        return self

    @model_validator(mode="after")
    def _test_set_is_known(self) -> Emnist:
        if self._file is not None and self.test_fraction is None and test_set_of(self._file) is None:
            raise ValueError(
                f"path={self.path} must have train in the file's name, as fed_emnist_train.h5 has, because the test set is the "
                "file with test instead; or set test_fraction, which draws the test set from this file"
            )
        return self

    @property
    def published(self) -> Published | None:
        if self._file is not None:
            return None
        train, test = _SIZES[self.only_digits]
        return Published(train, test, NUM_DIGITS if self.only_digits else NUM_MERGED if self.merge_case else NUM_CLASSES)

    @property
    def has_user_ids(self) -> bool:
        return True

    @property
    def _file(self) -> pathlib.Path | None:
        return None if self.path is None else pathlib.Path(self.path).expanduser()

    @property
    def _database(self) -> pathlib.Path:
        return self.data_dir / "emnist" / DATABASE

    def files(self) -> list[pathlib.Path]:
        if self._file is None:
            return [self._database]
        test = test_set_of(self._file) if self.test_fraction is None else None
        return [self._file] if test is None else [self._file, test]

    def verify(self) -> None:
        if self._file is not None:
            self._read()
        elif not self._database.exists():
            raise DataError(f"emnist: {self._database} is missing. Run `fedlab data fetch emnist`.")

    def fetch(self, progress: Progress) -> None:
        """Downloads TFF's database, unless `path` names another file; TFF shows its own progress bar."""
        if self._file is not None or self._database.exists():
            return
        import tensorflow_federated as tff

        try:
            self._database.parent.mkdir(parents=True, exist_ok=True)
            # TFF writes to the final name from the first byte, so a temporary folder hides an incomplete download
            with tempfile.TemporaryDirectory(dir=self._database.parent) as folder:
                tff.simulation.datasets.emnist.load_data(cache_dir=folder)
                os.replace(os.path.join(folder, DATABASE), self._database)
        except (OSError, EOFError, lzma.LZMAError, sqlite3.Error) as error:
            raise DataError(
                f"emnist: TFF's database could not be downloaded ({getattr(error, 'reason', None) or error})."
                f" Without a network, copy {DATABASE} into {self._database.parent}."
            ) from None

    def _read(self) -> tuple[ExampleSet, ExampleSet | None]:
        train, test = self._read_hdf5() if self._file is not None else self._read_database()
        return (case_merged(train), case_merged(test) if test is not None else None) if self.merge_case else (train, test)

    def _read_hdf5(self) -> tuple[ExampleSet, ExampleSet | None]:
        missing = [str(path) for path in self.files() if not path.exists()]
        if missing:
            draw = " Add it, or set data.test_fraction=0.1 to draw the test set from data.path."
            remedy = "" if str(self._file) in missing else draw
            raise DataError(f"{' and '.join(missing)}: no such file.{remedy}")
        sets = [read_clients(path) for path in self.files()]
        highest = max(int(examples.y.max()) for examples in sets)
        if self.only_digits != (highest < NUM_DIGITS):
            holds, wanted = ("letters", "false") if self.only_digits else ("digits only", "true")
            raise DataError(f"{self._file}: the labels go up to {highest}, so it has {holds}: set data.only_digits={wanted}.")
        if self.only_digits:
            sets = [dataclasses.replace(examples, task=Classification(num_classes=NUM_DIGITS)) for examples in sets]
        return sets[0], sets[1] if len(sets) > 1 else None

    def _read_database(self) -> tuple[ExampleSet, ExampleSet]:
        self.fetch(lambda *_: None)
        import tensorflow as tf
        import tensorflow_federated as tff

        try:
            clients = tff.simulation.datasets.emnist.load_data(self.only_digits, cache_dir=str(self._database.parent))
            train, test = (example_set(c, NUM_DIGITS if self.only_digits else NUM_CLASSES) for c in clients)
        except (sqlite3.Error, tf.errors.OpError) as error:
            reason = str(error).splitlines()[0]
            remedy = "Delete it and run `fedlab data fetch emnist`."
            raise DataError(f"emnist: {self._database} is damaged ({reason}). {remedy}") from None
        sizes = _SIZES[self.only_digits]
        if (len(train), len(test)) != sizes:
            raise DataError(
                f"emnist: {self._database} has {len(train)} training and {len(test)} test examples; the published file has"
                f" {sizes[0]} and {sizes[1]}. Delete it and run `fedlab data fetch emnist`."
            )
        return train, test


def example_set(clients: tff.simulation.datasets.ClientData, num_classes: int) -> ExampleSet:
    """Returns all clients' examples, client by client. TFF's pixels are float32 [28, 28]: 1 is paper, 0 is ink."""
    import tensorflow as tf

    def examples_of(client_id: tf.Tensor) -> tf.data.Dataset:
        examples = clients.serializable_dataset_fn(client_id).batch(BATCH_SIZE)
        return examples.map(lambda e: (tf.fill(tf.shape(e["label"]), client_id), e["label"], white_on_black(e["pixels"])))

    def white_on_black(pixels: tf.Tensor) -> tf.Tensor:
        return tf.cast(tf.round(255.0 * (1.0 - pixels)), tf.uint8)[..., tf.newaxis]

    # One pipeline over all clients: building one per client would take minutes
    batches = tf.data.Dataset.from_tensor_slices(list(clients.client_ids)).flat_map(examples_of)
    users, labels, images = zip(*batches.as_numpy_iterator())
    return ExampleSet(
        np.concatenate(images),
        np.concatenate(labels).astype(np.int32),
        num_classes,
        np.char.decode(np.concatenate(users).astype(np.bytes_), "utf-8"),
    )
