"""Hashes that tell whether two runs saw the same data, divided in the same way."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np

from fedlab.types import Dataset, Partition


def data_fingerprint(dataset: Dataset) -> str:
    """SHA-256 over every array of the data set, with its shape and type."""
    digest = hashlib.sha256()
    for examples in (dataset.train, dataset.test):
        for array in (examples.x, examples.y, examples.user_ids):
            _add(digest, array)
    return digest.hexdigest()


def partition_fingerprint(partition: Partition) -> str:
    """SHA-256 over the clients' names and which examples each holds."""
    digest = hashlib.sha256()
    for name, indices in zip(partition.client_ids, partition.indices):
        digest.update(f"{name}\n".encode())
        _add(digest, np.sort(indices))
    for indices in partition.held_out or ():
        _add(digest, np.sort(indices))
    return digest.hexdigest()


def fingerprints(dataset: Dataset, partition: Partition) -> tuple[str, str]:
    """Both."""
    return data_fingerprint(dataset), partition_fingerprint(partition)


def combined(fingerprints: Iterable[str]) -> str:
    """One for several; that itself where there is one."""
    first, *others = fingerprints
    return hashlib.sha256("".join([first, *others]).encode()).hexdigest() if others else first


def _add(digest: hashlib._Hash, array: object) -> None:
    if array is None:
        digest.update(b"none")
        return
    array = np.asarray(array)
    if array.dtype.kind not in "uifbU":  # objects: by what they print
        array = array.astype(str)
    digest.update(f"{array.dtype.str}{array.shape}".encode())
    digest.update(np.ascontiguousarray(array).view(np.uint8).data if array.size else b"")
