"""MNIST, MNIST by writer, and Fashion-MNIST: data sets in gzipped idx files."""

from __future__ import annotations

import gzip
from typing import ClassVar

import numpy as np

from fedlab.data.files import DataFile
from fedlab.data.source import Published, Source
from fedlab.types import ExampleSet

IDX_DTYPES = {0x08: "u1", 0x0C: ">i4"}


def parse_idx(content: bytes) -> np.ndarray:
    """Returns the array in a gzipped idx file: 2 zero bytes, dtype, number of axes, each axis as big-endian int32, the values."""
    raw = gzip.decompress(content)
    shape = np.frombuffer(raw, ">i4", count=raw[3], offset=4)
    return np.frombuffer(raw, IDX_DTYPES[raw[2]], offset=4 + 4 * raw[3]).reshape(shape)


def _mnist_file(name: str, md5: str) -> DataFile:
    mirrors = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/")
    return DataFile(f"mnist/{name}", "md5", md5, tuple(mirror + name for mirror in mirrors))


def _fashion_file(name: str, md5: str) -> DataFile:
    mirrors = (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    )
    return DataFile(f"fashion_mnist/{name}", "md5", md5, tuple(mirror + name for mirror in mirrors))


def _qmnist_file(name: str, sha256: str) -> DataFile:
    url = f"https://raw.githubusercontent.com/facebookresearch/qmnist/master/{name}"
    return DataFile(f"qmnist/{name}", "sha256", sha256, (url,))


class Mnist(Source):
    """LeCun et al. (1998): x uint8 [60000, 28, 28, 1], 10,000 test images, 10 classes, white on black. No user ids."""

    name: ClassVar[str] = "mnist"
    data_files: ClassVar[tuple[DataFile, ...]] = (
        _mnist_file("train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
        _mnist_file("train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432"),
        _mnist_file("t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3"),
        _mnist_file("t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c"),
    )

    @property
    def published(self) -> Published:
        return Published(train=60_000, test=10_000, classes=10)

    def _read(self) -> tuple[ExampleSet, ExampleSet | None]:
        train_x, train_y, test_x, test_y, *labels = (parse_idx(content) for content in self._contents())
        train_users, test_users = (_writers(rows) for rows in labels) if labels else (None, None)
        return _example_set(train_x, train_y, train_users), _example_set(test_x, test_y, test_users)


class MnistByWriter(Mnist):
    """MNIST with the NIST writer of each digit as its user: 539 writers in train, 297 others in test.

    The writers come from the extended labels of QMNIST (Yadav and Bottou 2019), whose first rows are MNIST's images in order.
    """

    name: ClassVar[str] = "mnist_by_writer"
    data_files: ClassVar[tuple[DataFile, ...]] = (
        *Mnist.data_files,
        _qmnist_file("qmnist-train-labels-idx2-int.gz", "2c05dc77f6b916b38e455e97ab129a42a444f3dbef09b278a366f82904e0dd9f"),
        _qmnist_file("qmnist-test-labels-idx2-int.gz", "9fbcbe594c3766fdf4f0b15c5165dc0d1e57ac604e01422608bb72c906030d06"),
    )

    @property
    def has_user_ids(self) -> bool:
        return True


class FashionMnist(Mnist):
    """Xiao et al. (2017): 10 kinds of clothing in MNIST's format and sizes. No user ids."""

    name: ClassVar[str] = "fashion_mnist"
    data_files: ClassVar[tuple[DataFile, ...]] = (
        _fashion_file("train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
        _fashion_file("train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe"),
        _fashion_file("t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79"),
        _fashion_file("t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310"),
    )


def _writers(qmnist_rows: np.ndarray) -> np.ndarray:
    return qmnist_rows[:, 2].astype(np.int64)


def _example_set(images: np.ndarray, labels: np.ndarray, users: np.ndarray | None) -> ExampleSet:
    users = users if users is None else users[: len(images)]  # QMNIST's test labels continue after MNIST's test set
    return ExampleSet(images[..., np.newaxis], labels.astype(np.int32), num_classes=10, user_ids=users)
