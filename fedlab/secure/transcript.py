"""Records one round: every message of a protocol passes through here and is counted, timed and, if observed, copied."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from fedlab.secure.layout import Layout
from fedlab.secure.view import ServerView

ID_BYTES = 4  # a client's number on the wire


@dataclasses.dataclass
class Phase:
    """One step of a protocol. `bytes_up`: from all clients to the server; `seconds`: the total over all parties."""

    name: str
    bytes_up: int = 0
    bytes_down: int = 0
    seconds: float = 0.0


class Transcript:
    """Counts and times messages and, if the round is `observed`, copies those that the server received."""

    def __init__(self, protocol: str, round: int, observed: bool, layout: Layout, most_clients: int):
        self.protocol, self.round, self.layout, self.most_clients = protocol, round, layout, most_clients
        self.attempt = 0
        self._senders: dict[int, None] = {}  # an ordered set
        self._received: dict[int, dict[str, np.ndarray]] | None = {} if observed else None
        self._phases: dict[str, Phase] = {}
        self._current = Phase("")

    @property
    def phases(self) -> tuple[Phase, ...]:
        return tuple(self._phases.values())

    @property
    def view(self) -> ServerView | None:
        if self._received is None:
            return None
        return ServerView(self.protocol, self.round, self._received, self.layout, self.most_clients)

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Counts the messages inside the block in this phase, which may be entered many times."""
        self._current = self._phases.setdefault(name, Phase(name))
        start = time.perf_counter()
        try:
            yield
        finally:
            self._current.seconds += time.perf_counter() - start

    @property
    def senders(self) -> tuple[int, ...]:
        """The clients whose contribution reached the server, in any attempt."""
        return tuple(self._senders)

    def up(self, client: int, message: Any, contributes: bool = False) -> None:
        """Records a message (a dataclass) from a client to the server. `contributes`: it carries the client's contribution."""
        self.count_up(message)
        if contributes:
            self._senders[client] = None
        if self._received is not None:
            seen = self._received.setdefault(client, {})
            again = f"attempt {self.attempt + 1}/" if self.attempt else ""
            seen.update((again + name, array.copy()) for name, array in parts(message) if array is not None)

    def count_up(self, message: Any) -> None:
        """Counts a message to the server that comes from no single client."""
        self._current.bytes_up += num_bytes(message)

    def down(self, message: Any) -> None:
        """Counts a message (a dataclass) from the server to a client or to the key holder."""
        self._current.bytes_down += num_bytes(message)


def parts(message: Any) -> Iterator[tuple[str, np.ndarray | None]]:
    """Yields (name, array) of each field, and of each item of a dict or tuple; None for a client's number."""
    for field in dataclasses.fields(message):
        value = getattr(message, field.name)
        if isinstance(value, dict):
            for key, item in value.items():
                yield f"{field.name}/{key}", None
                yield f"{field.name}/{key}", _array(item)
        elif isinstance(value, (tuple, list)):
            yield from ((f"{field.name}/{i}", _array(item)) for i, item in enumerate(value))
        else:
            yield field.name, _array(value)


def num_bytes(message: Any) -> int:
    """Returns the size of a message, or of a part of one, on the wire, without framing. Called thousands of times per round, so
    it makes no arrays."""
    if isinstance(message, bytes):
        return len(message)
    if isinstance(message, int):
        return ID_BYTES
    if isinstance(message, dict):
        return len(message) * ID_BYTES + sum(map(num_bytes, message.values()))
    if isinstance(message, (tuple, list)):
        return sum(map(num_bytes, message))
    if isinstance(message, np.ndarray):
        return message.nbytes
    return sum(num_bytes(getattr(message, field.name)) for field in dataclasses.fields(message))


def _array(value: Any) -> np.ndarray | None:
    if isinstance(value, int):
        return None
    if isinstance(value, bytes):
        return np.frombuffer(value, np.uint8)
    if dataclasses.is_dataclass(value):
        return np.concatenate([a.view(np.uint8).ravel() for _, a in parts(value) if a is not None])
    return np.asarray(value)
