"""Checkpoints: the whole state of a process after a round, in one file with a checksum.

A file is one line of JSON, with the SHA-256 of the rest, and an uncompressed npz of the state's tensors in their order. It needs
no other file, so that checkpoints can be removed in any order, and damage to one leaves the others intact. Of the rows that
clients keep, it contains those that have been written so far.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pathlib
import re
import zipfile
from typing import IO, Any

import numpy as np

from fedlab.archive.folder import make_folder, replacing
from fedlab.arrays import read_arrays
from fedlab.errors import FedlabError, one_line
from fedlab.fingerprint import parsed_json
from fedlab.rows import Pieces

_NAME = re.compile(r"round_(\d+)\.ckpt")
_FORMAT = "fedlab checkpoint 1"
_END = b"\x01"
_CHUNK_BYTES = 1 << 20
_LARGE = 1 << 24  # bytes of a tensor from which on it is mapped


class DamagedCheckpoint(FedlabError):
    """A checkpoint whose content does not match its checksum."""


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """The state after `round` rounds: the tensors of the process's state, in its order, also as `Pieces`."""

    round: int
    state: list[Any]


def save(folder: pathlib.Path, checkpoint: Checkpoint, keep: int) -> None:
    """Writes `checkpoint` and then removes all but the newest `keep`. Tensors in pieces are in memory one piece at a time.

    First removes the checkpoints of later rounds: those that a run has passed over, as they were damaged.
    """
    make_folder(folder)
    for path in newest_first(folder):
        if _round_of(path) > checkpoint.round:
            path.unlink(missing_ok=True)
    with replacing(folder / f"round_{checkpoint.round:06d}.ckpt") as partial, open(partial, "wb") as file:
        file.write(_header(checkpoint.round, "0" * 64))  # has the length of the one that replaces it
        body = _Hashed(file)
        with zipfile.ZipFile(body, "w") as archive:
            for i, tensor in enumerate(checkpoint.state):
                with archive.open(f"arr_{i}.npy", "w", force_zip64=True) as entry:
                    _write(entry, tensor)
        file.seek(0)
        file.write(_header(checkpoint.round, body.sha256.hexdigest()))
    for path in newest_first(folder)[keep:]:
        path.unlink(missing_ok=True)


def load(path: pathlib.Path) -> Checkpoint:
    """Reads a checkpoint; large tensors are maps of the file, read-only.

    Raises `DamagedCheckpoint` if it is not as `save` wrote it, and `FedlabError` if this machine cannot read it.
    """
    try:
        with open(path, "rb") as file:
            header = parsed_json(file.readline())
            if header["format"] != _FORMAT:
                raise DamagedCheckpoint(f"{path} was written in another format, {header['format']}.")
            begin, digest = file.tell(), hashlib.sha256()
            for chunk in iter(lambda: file.read(_CHUNK_BYTES), b""):
                digest.update(chunk)
            if header["sha256"] != digest.hexdigest():
                raise DamagedCheckpoint(f"{path} is damaged: its checksum does not match its content.")
            if _round_of(path) != header["round"]:
                raise DamagedCheckpoint(f"{path} is damaged: it contains round {header['round']}.")
            file.seek(begin)
            arrays = read_arrays(file, map_from=_LARGE)
        return Checkpoint(int(header["round"]), [_read(arrays[f"arr_{i}"]) for i in range(len(arrays))])
    except (OSError, MemoryError, ValueError, KeyError, TypeError) as error:
        cause = error.__cause__ or error  # `read_arrays` has one kind of error
        if not isinstance(cause, (OSError, MemoryError)):
            raise DamagedCheckpoint(f"{path} cannot be read: {error}.") from error
        why = getattr(cause, "strerror", None) or one_line(cause) or "not enough memory"
        raise FedlabError(
            f"{path} cannot be read: {why}. It may be intact: make it readable (permissions, disk), or give the process more "
            "memory or open files. To use an earlier one, move it away."
        ) from error


def _header(round_num: int, sha256: str) -> bytes:
    return json.dumps({"format": _FORMAT, "round": round_num, "sha256": sha256}).encode() + b"\n"


class _Hashed:
    """A file that is written from its beginning to its end, and the checksum of its content."""

    def __init__(self, file: IO[bytes]):
        self._file, self.sha256 = file, hashlib.sha256()

    def write(self, content: bytes) -> int:
        self.sha256.update(content)
        return self._file.write(content)

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def _write(entry: IO[bytes], tensor: Any) -> None:
    """Writes a tensor as `numpy.save` does; byte strings at fixed width with an end marker, as NumPy strips trailing zeros."""
    if not isinstance(tensor, Pieces):
        array = np.asarray(tensor)
        if array.dtype == object:
            array = np.array([s + _END for s in array.flat], np.bytes_).reshape(array.shape)
        np.lib.format.write_array(entry, array, allow_pickle=False)
        return
    header = {"descr": np.lib.format.dtype_to_descr(tensor.dtype), "fortran_order": False, "shape": tensor.shape}
    np.lib.format.write_array_header_1_0(entry, header)
    for piece in tensor:
        entry.write(piece.tobytes())


def _read(array: np.ndarray) -> np.ndarray:
    """Inverts what `_write` does to byte strings."""
    if array.dtype.kind != "S":
        return array
    return np.array([s[: -len(_END)] for s in array.flat], object).reshape(array.shape)


def newest_first(folder: pathlib.Path) -> list[pathlib.Path]:
    """Returns the checkpoint files in `folder`, newest first; [] if the folder does not exist."""
    if not folder.is_dir():
        return []
    return sorted((path for path in folder.iterdir() if _NAME.fullmatch(path.name)), key=_round_of, reverse=True)


def _round_of(path: pathlib.Path) -> int:
    """Returns the round that the name of a checkpoint states; −1 for another name."""
    match = _NAME.fullmatch(path.name)
    return int(match.group(1)) if match else -1
