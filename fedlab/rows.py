"""Rows that clients keep between rounds: in a file on disk, of which memory contains only the rows of a cohort."""

from __future__ import annotations

import errno
import functools
import itertools
import os
import pathlib
import tempfile
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

Arrays = tuple[np.ndarray, ...]
PIECE_BYTES = 1 << 24  # of a tensor that is read in pieces


class Rows:
    """A row for each of `num_clients` clients: one array for each of `first`, which is every client's row until it is written.

    The rows are in one sparse file, one after another, in `folder` (None: the system's folder for temporary files). A client
    without a row of its own takes a byte of memory and no disk. The file has no name, so that nobody takes it for a result, and
    the kernel removes it when the process ends, even if it is killed. It is not mapped: on a full or failing disk, reads and
    writes raise `OSError`, and a map would end the process.
    """

    def __init__(self, num_clients: int, first: Arrays, folder: pathlib.Path | None = None):
        self.first, self._is_written = first, np.zeros(num_clients, bool)
        self._begins = [0, *itertools.accumulate(a.nbytes for a in first)]  # of each tensor in a row, and the row's end
        self._snapshots: weakref.WeakSet[Snapshot] = weakref.WeakSet()
        self._file = tempfile.TemporaryFile(prefix=".rows-", dir=folder, buffering=0)  # noqa: SIM115
        self.close = weakref.finalize(self, self._file.close)
        self._file.truncate(num_clients * self._begins[-1])

    def written(self, clients: np.ndarray) -> np.ndarray:
        """Returns whether each of `clients` [K], positions in the partition, has a row of its own: bool [K]."""
        return self._is_written[clients]

    def read(self, clients: np.ndarray) -> Arrays:
        """Returns the rows of `clients` [K], a copy: float32 [K, …] for each tensor."""
        return tuple(self._read(range(len(self.first)), clients))

    def _read(self, numbers: range, clients: np.ndarray) -> list[np.ndarray]:
        """Returns the tensors `numbers`, neighbours in a row."""
        begin, end = self._begins[numbers.start], self._begins[numbers.stop]
        found = [np.repeat(self.first[i][np.newaxis], len(clients), 0) for i in numbers]
        for k in np.flatnonzero(self.written(clients)):
            row = _read(self._file.fileno(), end - begin, int(clients[k]) * self._begins[-1] + begin)
            for i, tensor in zip(numbers, found):
                tensor[k] = np.ndarray(tensor.shape[1:], np.float32, row, self._begins[i] - begin)
        return found

    def write(self, clients: np.ndarray, rows: Sequence[np.ndarray]) -> None:
        """Replaces the rows of `clients` [K]: float32 [K, …] for each tensor. Raises `OSError` if the disk is full."""
        for snapshot in list(self._snapshots):
            snapshot.keep(clients)
        tensors = [np.asarray(tensor, np.float32) for tensor in rows]
        for k, client in enumerate(clients.tolist()):
            _write(self._file.fileno(), b"".join(tensor[k].tobytes() for tensor in tensors), client * self._begins[-1])
        self._is_written[clients] = True

    def snapshot(self) -> Snapshot:
        """Returns all rows that have been written, as they are now."""
        found = Snapshot(self)
        self._snapshots.add(found)
        return found


class Snapshot:
    """The rows at one time. `Rows.write` first gives it the rows that it replaces, so a snapshot costs nothing until then."""

    def __init__(self, rows: Rows):
        self._rows = rows
        self._before: dict[int, Arrays | None] = {}  # of the clients written since then: their row; None: they had none

    def keep(self, clients: np.ndarray) -> None:
        """Stores the present rows of `clients`, except of those that it has stored before."""
        later = np.array([c for c in clients.tolist() if c not in self._before], np.int64)
        rows, own = self._rows.read(later), self._rows.written(later)
        for k, client in enumerate(later.tolist()):
            self._before[client] = tuple(tensor[k, ...] for tensor in rows) if own[k] else None

    def clients(self) -> np.ndarray:
        """Returns the positions of the clients with a row, int64 [n], ascending."""
        found = np.flatnonzero(self._rows._is_written)
        return found[~np.isin(found, [c for c, row in self._before.items() if row is None])]

    def tensors(self) -> list[Pieces]:
        """Returns `clients`, and their rows [n, …] for each tensor."""
        each = [Pieces(self.clients, functools.partial(self._read, i), a) for i, a in enumerate(self._rows.first)]
        return [Pieces(self.clients, lambda clients: clients, np.int64(0)), *each]

    def _read(self, number: int, clients: np.ndarray) -> np.ndarray:
        (found,) = self._rows._read(range(number, number + 1), clients)
        for client, row in self._before.items():
            k = np.searchsorted(clients, client)
            if row is not None and k < len(clients) and clients[k] == client:
                found[k] = row[number]
        return found


class Pieces:
    """A tensor [n, …] that is read in pieces of at most `PIECE_BYTES`, or of one row; `np.asarray` returns all of it."""

    def __init__(self, clients: Callable[[], np.ndarray], read: Callable[[np.ndarray], np.ndarray], row: Any):
        """`row`: shape and dtype of a row."""
        self._clients, self._read, self._row, self.dtype = clients, read, row, np.dtype(row.dtype)

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self._clients()), *self._row.shape)

    def __iter__(self) -> Iterator[np.ndarray]:
        clients, count = self._clients(), max(1, PIECE_BYTES // max(1, self._row.nbytes))
        return (self._read(clients[i : i + count]) for i in range(0, len(clients), count))

    def __array__(self, dtype: Any = None) -> np.ndarray:
        return np.asarray(self._read(self._clients()), dtype)


def _read(descriptor: int, count: int, offset: int) -> bytearray:
    """Reads `count` bytes, for which one call of the system may not suffice."""
    content = bytearray(count)
    rest = memoryview(content)
    while rest:
        found = os.preadv(descriptor, [rest], offset)
        if not found:
            raise OSError(errno.EIO, "the file of the rows that clients keep has been cut off")
        rest, offset = rest[found:], offset + found
    return content


def _write(descriptor: int, content: bytes, offset: int) -> None:
    """Writes all of `content`, for which one call of the system may not suffice."""
    rest = memoryview(content)
    while rest:
        count = os.pwrite(descriptor, rest, offset)
        rest, offset = rest[count:], offset + count
