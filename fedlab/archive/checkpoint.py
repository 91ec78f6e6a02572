"""Checkpoints: the whole state of a process after a round, in one file that says whether it is whole.

A file is one line of JSON, with the SHA-256 of the rest, and an uncompressed npz of the state's tensors in their order.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import pathlib
import re
import zipfile
import zlib
from collections.abc import Sequence

import numpy as np

from fedlab.archive.folder import make_folder, replacing
from fedlab.errors import FedlabError

_NAME = re.compile(r"round_(\d+)\.ckpt")
_FORMAT = "fedlab checkpoint 1"
_END = b"\x01"
_UNREADABLE = (OSError, ValueError, KeyError, TypeError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)


class DamagedCheckpoint(FedlabError):
    """A checkpoint that is not what was written."""


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """The state after `round` rounds: the tensors of the process's state, in its order."""

    round: int
    state: Sequence[np.ndarray]


def save(folder: pathlib.Path, checkpoint: Checkpoint, keep: int) -> None:
    """Writes `checkpoint` and then removes all but the newest `keep`."""
    make_folder(folder)
    body = io.BytesIO()
    np.savez(body, *map(_written, checkpoint.state))
    content = body.getbuffer()
    header = {"format": _FORMAT, "round": checkpoint.round, "sha256": hashlib.sha256(content).hexdigest()}
    with replacing(folder / f"round_{checkpoint.round:06d}.ckpt") as partial, open(partial, "wb") as file:
        file.write(json.dumps(header).encode() + b"\n")
        file.write(content)
    for path in newest_first(folder)[keep:]:
        path.unlink(missing_ok=True)


def load(path: pathlib.Path) -> Checkpoint:
    """Raises `DamagedCheckpoint` where the file is not what `save` wrote."""
    try:
        header_line, _, content = path.read_bytes().partition(b"\n")
        header = json.loads(header_line)
        if header["format"] != _FORMAT:
            raise DamagedCheckpoint(f"{path} was written in another format, {header['format']}.")
        if header["sha256"] != hashlib.sha256(content).hexdigest():
            raise DamagedCheckpoint(f"{path} is damaged: its checksum does not match its content.")
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return Checkpoint(int(header["round"]), [_read(arrays[f"arr_{i}"]) for i in range(len(arrays.files))])
    except _UNREADABLE as error:
        raise DamagedCheckpoint(f"{path} cannot be read: {error}.") from error


def _written(tensor: np.ndarray) -> np.ndarray:
    """Byte strings, which come as objects, as fixed-width ones; with an end, since numpy drops the zeros they may end with."""
    array = np.asarray(tensor)
    return array if array.dtype != object else np.array([s + _END for s in array.flat], np.bytes_).reshape(array.shape)


def _read(array: np.ndarray) -> np.ndarray:
    """What `_written` was given."""
    if array.dtype.kind != "S":
        return array
    return np.array([s[: -len(_END)] for s in array.flat], object).reshape(array.shape)


def newest_first(folder: pathlib.Path) -> list[pathlib.Path]:
    """The checkpoint files in `folder`; [] where there is no such folder."""
    if not folder.is_dir():
        return []
    found = [(int(match.group(1)), path) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))]
    return [path for _, path in sorted(found, reverse=True)]
