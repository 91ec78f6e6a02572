"""Shakespeare's plays by speaking role, as TFF publishes them: next-character prediction."""

from __future__ import annotations

import io
from typing import ClassVar

import numpy as np
from pydantic import PositiveInt, model_validator

from fedlab.data.files import DataFile, Progress
from fedlab.data.sequences import sequences
from fedlab.data.source import Source
from fedlab.errors import DataError
from fedlab.tasks import NextToken
from fedlab.types import ExampleSet

# TFF publishes the two files in this archive, with its checksum in tff.simulation.datasets.shakespeare
_ARCHIVE = DataFile(
    "shakespeare/shakespeare.tar.bz2",
    "sha256",
    "0285be9906cb5f268092eee4edeeacfc2af4574f2941f7cc2f08a321d7f5c707",
    ("https://storage.googleapis.com/tff-datasets-public/shakespeare.tar.bz2",),
)
_TRAIN = DataFile(
    "shakespeare/shakespeare_train.h5", "sha256", "67100f52adfb6d5ece73c1a942b6863731a477bf09421a3c79c9937612895344", ()
)
_TEST = DataFile(
    "shakespeare/shakespeare_test.h5", "sha256", "55d3a635bffe5c4f71610a8d0cf86c1b369bfd7793e0635b5a83cde1f195689e", ()
)
# The 86 characters that TFF encodes, in its order, so that tokens have the same numbers
VOCABULARY = tuple("dhlptx@DHLPTX $(,048cgkoswCGKOSW[_#'/37;?bfjnrvzBFJNRVZ\"&*.26:\naeimquyAEIMQUY]!%)-159\r")


class Shakespeare(Source):
    """The lines of 715 speaking roles (McMahan et al. 2017, in the version of Reddi et al. 2021): 16,068 and 2,356 texts.

    Reads shakespeare_train.h5 and shakespeare_test.h5 in the folder shakespeare of the data directory, and nothing in them is
    executed. `sequence_length`: the length of an example, at least 1; with 80, there are 37,662 training and 5,471 test examples.
    The vocabulary has 86 characters; with padding and three marks, there are 90 tokens. User ids are the roles; each role is in
    the training set and in the test set.
    """

    sequence_length: PositiveInt = 80

    name: ClassVar[str] = "shakespeare"
    data_files: ClassVar[tuple[DataFile, ...]] = (_TRAIN, _TEST)
    archive: ClassVar[DataFile] = _ARCHIVE
    unread: ClassVar[tuple[str, str, str]] = ("16,068 + 2,356 texts", "90 tokens", "yes")

    @model_validator(mode="after")
    def _has_no_classes(self) -> Shakespeare:
        if self.classes is not None:
            raise ValueError("classes chooses labels, and text has none: leave it out")
        return self

    @property
    def has_user_ids(self) -> bool:
        return True

    def fetch(self, progress: Progress) -> None:
        """Downloads the archive and unpacks the files that are missing or damaged. Raises `DataError`, and says what to copy."""
        missing = [file for file in self.data_files if not file.is_good(self.data_dir)]
        if not missing:
            return
        archive, place = self.archive, self.data_dir / self.archive.path
        there = archive.is_good(self.data_dir)
        try:
            if not there:
                archive.download(self.data_dir, progress)
            archive.unpack(self.data_dir, missing)
        except (DataError, OSError) as error:
            raise DataError(
                f"{error}. Without a network, copy shakespeare.tar.bz2 to {place} and repeat the command, or copy its files "
                f"{' and '.join(file.path for file in missing)} below {self.data_dir}."
            ) from None
        if not there:
            place.unlink()

    def _read(self) -> tuple[ExampleSet, ExampleSet | None]:
        task = NextToken(vocabulary=VOCABULARY, length=self.sequence_length)
        train, test = (_examples(content, task) for content in self._contents())
        return train, test


def _examples(content: bytes, task: NextToken) -> ExampleSet:
    """Returns the examples of a verified file, by role in the order of the roles' names."""
    import h5py

    texts, users = [], []
    with h5py.File(io.BytesIO(content), "r") as archive:
        roles = archive["examples"]
        for role in sorted(roles):
            lines = [line.decode() for line in np.asarray(roles[role]["snippets"])]
            texts += lines
            users += [role] * len(lines)
    return sequences(texts, users, task)
