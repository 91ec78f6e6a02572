"""Federated EMNIST, as TensorFlow Federated ships it."""

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

from fedlab.data.files import Progress
from fedlab.data.source import Published, Source
from fedlab.errors import DataError
from fedlab.tasks import Classification
from fedlab.types import ExampleSet

if TYPE_CHECKING:
    import tensorflow_federated as tff

DATABASE = "emnist_all.sqlite"  # TFF's name for the file
BATCH_SIZE = 4096


class Emnist(Source):
    """Handwritten characters by writer (Cohen et al. 2017, Caldas et al. 2018), through TFF's loader.

    `only_digits`: 10 classes and 3,383 writers; if false, 62 classes (digits, upper case, lower case) and 3,400 writers.
    `merge_case`: merges upper and lower case: 26 is subtracted from labels of 36 and more, which leaves 36 classes.
    x uint8 [N, 28, 28, 1], white on black like MNIST. Every writer has examples in train and in test. The first `load`
    downloads the database; every `load` imports TensorFlow.
    """

    only_digits: bool = True
    merge_case: bool = False

    name: ClassVar[str] = "emnist"

    @model_validator(mode="after")
    def _case_needs_letters(self) -> Emnist:
        if self.merge_case and self.only_digits:
            raise ValueError("merge_case needs letters: set only_digits=false also")
        return self

    @property
    def published(self) -> Published:
        if self.only_digits:
            return Published(train=341_873, test=40_832, classes=10)
        return Published(train=671_585, test=77_483, classes=36 if self.merge_case else 62)

    @property
    def has_user_ids(self) -> bool:
        return True

    @property
    def _database(self) -> pathlib.Path:
        return self.data_dir / "emnist" / DATABASE

    def files(self) -> list[pathlib.Path]:
        return [self._database]

    def verify(self) -> None:
        if not self._database.exists():
            raise DataError(f"emnist: {self._database} is missing. Run `fedlab data fetch emnist`.")

    def fetch(self, progress: Progress) -> None:
        """Downloads TFF's database; TFF shows its own progress bar."""
        if self._database.exists():
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
        self.fetch(lambda *_: None)
        import tensorflow as tf
        import tensorflow_federated as tff

        try:
            clients = tff.simulation.datasets.emnist.load_data(self.only_digits, cache_dir=str(self._database.parent))
            train, test = (example_set(c, 10 if self.only_digits else 62) for c in clients)
        except (sqlite3.Error, tf.errors.OpError) as error:
            reason = str(error).splitlines()[0]
            remedy = "Delete it and run `fedlab data fetch emnist`."
            raise DataError(f"emnist: {self._database} is damaged ({reason}). {remedy}") from None
        if (len(train), len(test)) != (self.published.train, self.published.test):
            raise DataError(
                f"emnist: {self._database} has {len(train)} training and {len(test)} test examples; the published file has"
                f" {self.published.train} and {self.published.test}. Delete it and run `fedlab data fetch emnist`."
            )
        return (case_merged(train), case_merged(test)) if self.merge_case else (train, test)


def case_merged(examples: ExampleSet) -> ExampleSet:
    """Merges the last 26 of the 62 classes (digits, upper case, lower case) into the 26 before them."""
    y = np.where(examples.y >= 36, examples.y - 26, examples.y).astype(np.int32)
    return dataclasses.replace(examples, y=y, task=Classification(num_classes=36))


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
