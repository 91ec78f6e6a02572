"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009), from the published files for C programs, which need no pickles."""

from __future__ import annotations

import io
import tarfile
from typing import ClassVar, Literal

import numpy as np

from fedlab.data.files import DataFile
from fedlab.data.source import Published, Source
from fedlab.errors import DataError
from fedlab.tasks import Classification
from fedlab.types import ExampleSet

_PIXELS = 3 * 32 * 32
_URL = "https://www.cs.toronto.edu/~kriz/"
_CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def _archive(name: str, md5: str, folder: str) -> DataFile:
    return DataFile(f"{folder}/{name}", "md5", md5, (_URL + name,))


class _Cifar(Source):
    """Images x uint8 [50000, 32, 32, 3] (red, green, blue), 10,000 test images. No user ids."""

    folder: ClassVar[str]  # in the archive
    train_files: ClassVar[tuple[str, ...]]
    test_file: ClassVar[str]

    @property
    def _label_bytes(self) -> int:
        """The number of label bytes before the pixels of each image."""
        return 1

    @property
    def _label(self) -> int:
        """The position of the label among them."""
        return 0

    def _read(self) -> tuple[ExampleSet, ExampleSet | None]:
        (content,) = self._contents()
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
            names = self._class_names(archive)
            task = Classification(num_classes=len(names), labels=names)
            train = b"".join(_member(archive, f"{self.folder}/{name}") for name in self.train_files)
            test = _member(archive, f"{self.folder}/{self.test_file}")
            sets = [ExampleSet(*self._images(c), task=task, attributes=self._attributes(archive, c)) for c in (train, test)]
        return sets[0], sets[1]

    def _class_names(self, archive: tarfile.TarFile) -> tuple[str, ...]:
        """Returns the labels of the classes, in the order of their numbers."""
        raise NotImplementedError

    def _attributes(self, archive: tarfile.TarFile, content: bytes) -> dict[str, np.ndarray]:
        """Returns the further labels of a file's images, by name."""
        return {}

    def _rows(self, content: bytes) -> np.ndarray:
        """Returns uint8 [N, bytes of an image]: its labels, and each colour's plane row by row."""
        return np.frombuffer(content, np.uint8).reshape(-1, self._label_bytes + _PIXELS)

    def _images(self, content: bytes) -> tuple[np.ndarray, np.ndarray]:
        """Returns x and y of a file."""
        rows = self._rows(content)
        x = rows[:, self._label_bytes :].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        return np.ascontiguousarray(x), rows[:, self._label].astype(np.int32)


class Cifar10(_Cifar):
    """CIFAR-10: 50,000 training and 10,000 test images, 32×32 pixels in colour, 10 classes of 6,000."""

    name: ClassVar[str] = "cifar10"
    data_files: ClassVar[tuple[DataFile, ...]] = (
        _archive("cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530", "cifar10"),
    )
    folder: ClassVar[str] = "cifar-10-batches-bin"
    train_files: ClassVar[tuple[str, ...]] = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
    test_file: ClassVar[str] = "test_batch.bin"

    @property
    def published(self) -> Published:
        return Published(train=50_000, test=10_000, classes=10, names=_CIFAR10)

    def _class_names(self, archive: tarfile.TarFile) -> tuple[str, ...]:
        return _CIFAR10


class Cifar100(_Cifar):
    """CIFAR-100: 50,000 training and 10,000 test images, 32×32 pixels in colour.

    `labels`: fine: 100 classes of 600 images, or coarse: 20 superclasses of five of them each. Attributes: `fine_label` and
    `coarse_label`, by name.
    """

    labels: Literal["fine", "coarse"] = "fine"

    name: ClassVar[str] = "cifar100"
    data_files: ClassVar[tuple[DataFile, ...]] = (
        _archive("cifar-100-binary.tar.gz", "03b5dce01913d631647c71ecec9e9cb8", "cifar100"),
    )
    folder: ClassVar[str] = "cifar-100-binary"
    train_files: ClassVar[tuple[str, ...]] = ("train.bin",)
    test_file: ClassVar[str] = "test.bin"

    @property
    def published(self) -> Published | None:
        return Published(train=50_000, test=10_000, classes=100 if self.labels == "fine" else 20)

    @property
    def _label_bytes(self) -> int:
        return 2  # the superclass, then the class

    @property
    def _label(self) -> int:
        return 1 if self.labels == "fine" else 0

    def _class_names(self, archive: tarfile.TarFile) -> tuple[str, ...]:
        return self._names(archive, self.labels)

    def _names(self, archive: tarfile.TarFile, labels: str) -> tuple[str, ...]:
        return tuple(_member(archive, f"{self.folder}/{labels}_label_names.txt").decode().split())

    def _attributes(self, archive: tarfile.TarFile, content: bytes) -> dict[str, np.ndarray]:
        rows = self._rows(content)
        places = {"coarse": 0, "fine": 1}
        return {f"{name}_label": np.array(self._names(archive, name))[rows[:, place]] for name, place in places.items()}


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    found = archive.extractfile(name) if name in archive.getnames() else None
    if found is None:
        raise DataError(f"{name} is missing in the archive")
    return found.read()
