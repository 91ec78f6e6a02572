"""`ServerView`: everything that the server received from each client in one round, as it came, and what it knew before.

Attacks read it.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import zipfile
from collections.abc import Mapping

import numpy as np

from fedlab.errors import DataError
from fedlab.secure.layout import Layout, Tensor


@dataclasses.dataclass(frozen=True)
class ServerView:
    """`received`: {client: {what: array}}. Byte strings are uint8 arrays. What the server worked out from all of it together,
    the sum, is not repeated here.

    `layout`, `most_clients`: what was agreed on contributions. `model`: the weights that clients were sent, trainable first,
    where the round was one of training. Files of old may lack these.
    """

    protocol: str
    round: int
    received: Mapping[int, Mapping[str, np.ndarray]]
    layout: Layout | None = None
    most_clients: int = 0
    model: tuple[np.ndarray, ...] = ()

    def num_bytes(self, client: int) -> int:
        return sum(array.nbytes for array in self.received[client].values())

    def save(self, path: str | pathlib.Path) -> None:
        """Writes an npz file with an array `CLIENT/WHAT` for each item and `model/I` for each of the weights, beside the rest."""
        arrays = {f"{client}/{name}": a for client, items in self.received.items() for name, a in items.items()}
        arrays.update({f"model/{i}": np.asarray(weight) for i, weight in enumerate(self.model)})
        known = {"protocol": self.protocol, "round": self.round, "most_clients": self.most_clients}
        if self.layout is not None:
            known["layout"] = json.dumps([[t.shape, t.dtype.str, t.bound] for t in self.layout.tensors])
        with open(path, "wb") as file:  # given a name, numpy would add .npz to it
            np.savez(file, **{name: np.array(value) for name, value in known.items()}, **arrays)

    @classmethod
    def load(cls, path: str | pathlib.Path) -> ServerView:
        """Reads what `save` wrote. Raises `DataError` for another file."""
        try:
            with np.load(path, allow_pickle=False) as file:
                received: dict[int, dict[str, np.ndarray]] = {}
                model = []
                for key in file.files:
                    client, slash, name = key.partition("/")
                    if client == "model":
                        model.append(file[key])
                    elif slash:
                        received.setdefault(int(client), {})[name] = file[key]
                layout = _layout(json.loads(str(file["layout"]))) if "layout" in file else None
                most_clients = int(file["most_clients"]) if "most_clients" in file else 0
                return cls(str(file["protocol"]), int(file["round"]), received, layout, most_clients, tuple(model))
        except FileNotFoundError:
            raise DataError(f"{path} is missing: record a round with secure.observe=last.") from None
        except (ValueError, KeyError, TypeError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise DataError(f"{path} is not the record of a round ({type(error).__name__}: {error}).") from None


def _layout(tensors: list) -> Layout:
    return Layout(tuple(Tensor(tuple(shape), np.dtype(dtype), bound) for shape, dtype, bound in tensors))
