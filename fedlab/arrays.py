"""Reading the arrays of an .npz file: whatever is wrong with it is one kind of error."""

from __future__ import annotations

import errno
import math
import os
import struct
import zipfile
from typing import BinaryIO

import numpy as np

from fedlab.errors import one_line

_LENGTHS = 26  # bytes of a zip entry's header before the length of its name


def read_arrays(source: str | os.PathLike[str] | BinaryIO, map_from: float = math.inf) -> dict[str, np.ndarray]:
    """All arrays by name, in the order of the file, as `numpy.savez` writes them.

    `map_from`: the number of bytes from which on an array of an uncompressed archive in an open file is mapped instead of read:
    a part of it is in memory only if it is used. It cannot be changed.

    Raises `OSError` where the file cannot be opened, and `ValueError`, with one line, for everything else: another kind of file,
    damage, two arrays of one name, entries that are no arrays, Python objects, arrays that memory cannot hold.
    """
    if isinstance(source, (str, os.PathLike)):
        with open(source, "rb") as file:  # numpy leaves a file that it opened itself open when it is damaged
            return read_arrays(file, map_from)
    try:
        archive = np.load(source, allow_pickle=False)
    except Exception as error:
        raise ValueError(one_line(error) or type(error).__name__) from error
    if isinstance(archive, np.ndarray):
        raise ValueError("a single array, not an archive of named arrays")
    names = archive.files
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"it holds two arrays called {twice}")
    return {name: _read(archive, name, source, map_from) for name in names}


def _read(archive: np.lib.npyio.NpzFile, name: str, source: BinaryIO, map_from: float) -> np.ndarray:
    try:
        entry = archive.zip.getinfo(name if name in archive.zip.namelist() else f"{name}.npy")
        is_mapped = entry.file_size >= map_from and entry.compress_type == zipfile.ZIP_STORED
        array = _mapped(source, entry.header_offset) if is_mapped else None
        array = archive[name] if array is None else array
    except Exception as error:  # of zip, of each compression, of numpy's header, which is Python
        if "Object arrays" in str(error):
            what = "holds Python objects, which are not read: store numbers, or strings by .astype(str)"
            raise ValueError(f"{name} {what}") from error
        raise ValueError(f"{name}: {one_line(error) or type(error).__name__}") from error
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{name} is no array")
    return array


def _mapped(file: BinaryIO, offset: int) -> np.ndarray | None:
    """Returns the array of an uncompressed archive whose entry begins at `offset`; None if the file system maps no files."""
    file.seek(offset + _LENGTHS)
    file.seek(sum(struct.unpack("<HH", file.read(4))), os.SEEK_CUR)  # the lengths of a name and of extra fields, which follow
    version = np.lib.format.read_magic(file)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, is_transposed, dtype = read_header(file)
    try:
        return np.memmap(file, dtype, "r", file.tell(), shape, "F" if is_transposed else "C")
    except OSError as error:
        if error.errno != errno.ENODEV:
            raise
        return None
