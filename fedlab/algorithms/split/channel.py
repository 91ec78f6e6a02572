"""The only connection between the two sides of the cut: messages as bytes, counted by kind."""

from __future__ import annotations

import collections
import dataclasses
import struct
from typing import Any, Literal

import numpy as np

Direction = Literal["up", "down", "across"]  # client to server, server to client, client to client
KINDS = ("activations", "gradients", "features", "feature_gradients", "labels", "weights", "examples")
_DTYPES = (np.dtype("<f4"), np.dtype("<i4"), np.dtype("<i8"), np.dtype("u1"))


@dataclasses.dataclass(frozen=True)
class Crossing:
    """One sent message."""

    direction: Direction
    kind: str  # of KINDS
    num_bytes: int  # including the header


class Channel:
    """Serialises arrays at one end and deserialises them at the other; keeps no message after it is received."""

    def __init__(self) -> None:
        self.crossings: list[Crossing] = []  # since `forget`
        self._waiting: dict[tuple[Direction, str], collections.deque[bytes]] = collections.defaultdict(collections.deque)

    def send(self, direction: Direction, kind: str, *arrays: Any) -> None:
        """Sends `arrays`, or tensors, as one message."""
        message = encode(kind, [np.asarray(a) for a in arrays])
        self.crossings.append(Crossing(direction, kind, len(message)))
        self._waiting[direction, kind].append(message)

    def receive(self, direction: Direction, kind: str) -> list[np.ndarray]:
        """Returns the oldest waiting message of this direction and kind; there must be one."""
        return decode(kind, self._waiting[direction, kind].popleft())

    @property
    def is_empty(self) -> bool:
        """Returns True if every message has been received."""
        return not any(self._waiting.values())

    def num_bytes(self) -> dict[tuple[Direction, str], int]:
        """Returns (direction, kind) → bytes sent since `forget`."""
        total: dict[tuple[Direction, str], int] = collections.defaultdict(int)
        for crossing in self.crossings:
            total[crossing.direction, crossing.kind] += crossing.num_bytes
        return dict(total)

    def forget(self) -> None:
        """Resets the counts."""
        self.crossings = []


def encode(kind: str, arrays: list[np.ndarray]) -> bytes:
    """Returns the message: kind (a byte) and number of arrays (two); per array its dtype and rank (a byte each), its shape (four
    bytes per axis) and its raw content; all little-endian.
    """
    pieces = [struct.pack("<BH", KINDS.index(kind), len(arrays))]
    for array in arrays:
        content = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(array.shape)
        shape = struct.pack(f"<BB{array.ndim}I", _DTYPES.index(content.dtype), array.ndim, *array.shape)
        pieces += [shape, content.tobytes()]
    return b"".join(pieces)


def decode(kind: str, message: bytes) -> list[np.ndarray]:
    """Returns the arrays of `message`, read-only."""
    number, count = struct.unpack_from("<BH", message)
    assert KINDS[number] == kind, (KINDS[number], kind)
    at, arrays = 3, []
    for _ in range(count):
        dtype, rank = struct.unpack_from("<BB", message, at)
        shape = struct.unpack_from(f"<{rank}I", message, at + 2)
        at += 2 + 4 * rank
        size = int(np.prod(shape, dtype=np.int64))
        arrays.append(np.frombuffer(message, _DTYPES[dtype], size, at).reshape(shape))
        at += arrays[-1].nbytes
    assert at == len(message), (at, len(message))
    return arrays
