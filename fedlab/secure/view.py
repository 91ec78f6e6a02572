"""`ServerView`: the raw messages that the server received from each client in one round, and what it knew before.

Attacks read it.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from fedlab.arrays import read_arrays
from fedlab.errors import DataError
from fedlab.fingerprint import parsed_json
from fedlab.secure.layout import Layout, Tensor


@dataclasses.dataclass(frozen=True)
class ServerView:
    """The server's view of one round. `received`: {client: {name: array}}; byte strings are uint8 arrays. The sum, which the
    server computes from all messages, is not included.

    `layout`, `most_clients`: the agreed form of contributions. `model`: the weights sent to clients, trainable first, if the
    round was one of training. `trained`: the positions in `model` of the weights that an update covers. Files of older versions
    may lack these four.
    """

    protocol: str
    round: int
    received: Mapping[int, Mapping[str, np.ndarray]]
    layout: Layout | None = None
    most_clients: int = 0
    model: tuple[np.ndarray, ...] = ()
    trained: tuple[int, ...] = ()

    def num_bytes(self, client: int) -> int:
        return sum(array.nbytes for array in self.received[client].values())

    def save(self, path: str | pathlib.Path) -> None:
        """Writes an npz file with an array `CLIENT/NAME` for each item, `model/I` for each weight, and the other fields."""
        arrays = {f"{client}/{name}": a for client, items in self.received.items() for name, a in items.items()}
        arrays.update({f"model/{i}": np.asarray(weight) for i, weight in enumerate(self.model)})
        known: dict[str, Any] = {"protocol": self.protocol, "round": self.round, "most_clients": self.most_clients}
        if self.trained:
            known["trained"] = self.trained
        if self.layout is not None:
            known["layout"] = json.dumps([[t.shape, t.dtype.str, t.bound] for t in self.layout.tensors])
        with open(path, "wb") as file:  # given a path, NumPy would append .npz
            np.savez(file, **{name: np.array(value) for name, value in known.items()}, **arrays)

    @classmethod
    def load(cls, path: str | pathlib.Path) -> ServerView:
        """Reads a file that `save` wrote. Raises `DataError` for any other file."""
        try:
            file = read_arrays(path)
            received: dict[int, dict[str, np.ndarray]] = {}
            model = []
            for key, array in file.items():
                client, slash, name = key.partition("/")
                if client == "model":
                    model.append(array)
                elif slash:
                    received.setdefault(int(client), {})[name] = array
            layout = _layout(parsed_json(str(file["layout"]))) if "layout" in file else None
            most_clients = int(file["most_clients"]) if "most_clients" in file else 0
            trained = tuple(file["trained"].astype(int).tolist()) if "trained" in file else ()
            return cls(str(file["protocol"]), int(file["round"]), received, layout, most_clients, tuple(model), trained)
        except FileNotFoundError:
            raise DataError(f"{path} is missing: record a round with secure.observe=last.") from None
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise DataError(
                f"{path} is not the record of a round ({type(error).__name__}: {error}): record one with secure.observe=last."
            ) from None


def _layout(tensors: list) -> Layout:
    return Layout(tuple(Tensor(tuple(shape), np.dtype(dtype), bound) for shape, dtype, bound in tensors))
