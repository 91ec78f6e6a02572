"""Federated EMNIST in HDF5, as TFF published it before its SQLite database: `examples/<client>/pixels` and `…/label`."""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING, Any

import numpy as np

from fedlab.data.characters import NUM_CLASSES, SIDE, checked_labels, empty_images, white_on_black
from fedlab.errors import DataError, one_line
from fedlab.types import ExampleSet

if TYPE_CHECKING:
    import h5py

_MOST_COMPRESSION = 1100  # deflate, which TFF uses, makes data at most 1,032 times smaller
_MOST_IMAGES = 4096  # read at a time


def test_set_of(path: pathlib.Path) -> pathlib.Path | None:
    """Returns the file of the test set that belongs to a file of training data; None if the file's name has no "train"."""
    before, train, after = path.name.rpartition("train")
    return path.with_name(f"{before}test{after}") if train else None


def read_clients(path: pathlib.Path) -> ExampleSet:
    """Returns the examples of all clients of a file, client by client in the order of their ids, with labels from 0 to 61.

    `pixels`: floats [n, 28, 28], 1 is paper. `label`: integers [n]. Nothing in the file is executed, and no other file is read.
    Raises `DataError`, one line, for any other file, for damage, and for more images than the memory can hold.
    """
    import h5py

    try:
        with open(path, "rb") as file, h5py.File(file, "r") as archive:
            return _read(archive)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file.") from None
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    except Exception as error:  # of HDF5 and of each compression
        reason = (error.strerror if isinstance(error, OSError) else None) or one_line(error) or type(error).__name__
        raise DataError(f"{path}: not a readable HDF5 file of federated EMNIST ({reason}).") from None


def _read(archive: h5py.File) -> ExampleSet:
    import h5py

    clients = _own(archive, "examples", h5py.Group)
    names = sorted(clients)
    groups = [_own(clients, name, h5py.Group) for name in names]
    images = [_own(group, "pixels", h5py.Dataset) for group in groups]
    labels = [_own(group, "label", h5py.Dataset) for group in groups]
    for name, pixels, label in zip(names, images, labels):
        _check(name, pixels, label)
    ends = np.cumsum([len(pixels) for pixels in images], dtype=np.int64)
    if not len(ends) or not ends[-1]:
        raise ValueError("it has no examples")
    x, y = empty_images(int(ends[-1])), np.empty(ends[-1], np.int32)
    for name, pixels, label, end in zip(names, images, labels, ends):
        start = end - len(pixels)
        try:
            y[start:end] = checked_labels(label[()], len(pixels))
            for first in range(0, len(pixels), _MOST_IMAGES):
                part = pixels[first : first + _MOST_IMAGES]
                x[start + first : start + first + len(part)] = white_on_black(part)
        except ValueError as error:
            raise ValueError(f"client {name}: {error}") from None
    return ExampleSet(x, y, NUM_CLASSES, np.repeat(np.array(names, np.str_), [len(pixels) for pixels in images]))


def _own(group: h5py.Group, name: str, kind: type) -> Any:
    """Returns a member of a group that lies in this file itself: a link could lead to any file of the machine."""
    import h5py

    where = f"{group.name.rstrip('/')}/{name}"
    link = group.get(name, getlink=True)
    if link is None:
        raise ValueError(f"{where} is missing")
    if not isinstance(link, h5py.HardLink):
        raise ValueError(f"{where} links elsewhere")
    item = group[name]
    if not isinstance(item, kind):
        raise ValueError(f"{where} is a {type(item).__name__.lower()}, not a {kind.__name__.lower()}")
    if isinstance(item, h5py.Dataset) and (item.external or item.is_virtual):
        raise ValueError(f"{where} reads another file")
    return item


def _check(name: str, pixels: h5py.Dataset, label: h5py.Dataset) -> None:
    """Checks shapes and types before anything is read. Raises `ValueError`."""
    for item in (pixels, label):
        if item.shape is None:
            raise ValueError(f"{item.name} is empty")
        stored = item.id.get_storage_size()
        if item.size * item.dtype.itemsize > _MOST_COMPRESSION * stored:
            raise ValueError(f"{item.name} of shape {item.shape} has only {stored:,} bytes in the file")
    if pixels.dtype.kind != "f" or pixels.shape[1:] != (SIDE, SIDE):
        raise ValueError(f"client {name}: pixels must be floats of shape [n, {SIDE}, {SIDE}], not {pixels.dtype} {pixels.shape}")
    if label.shape != pixels.shape[:1]:
        raise ValueError(f"client {name}: label must have shape {pixels.shape[:1]}, one per image, not {label.shape}")
