"""`ServerView`: everything that the server received from each client in one round, as it came. Attacks read it."""

from __future__ import annotations

import dataclasses
import pathlib
import zipfile
from typing import Mapping, Union

import numpy as np

from fedlab.errors import DataError


@dataclasses.dataclass(frozen=True)
class ServerView:
    """`received`: {client: {what: array}}. Byte strings are uint8 arrays. What the server worked out from all of it together,
    the sum, is not repeated here."""

    protocol: str
    round: int
    received: Mapping[int, Mapping[str, np.ndarray]]

    def num_bytes(self, client: int) -> int:
        return sum(array.nbytes for array in self.received[client].values())

    def save(self, path: Union[str, pathlib.Path]) -> None:
        """Writes an npz file with an array `CLIENT/WHAT` for each item, beside `protocol` and `round`."""
        arrays = {f"{client}/{name}": a for client, items in self.received.items() for name, a in items.items()}
        with open(path, "wb") as file:  # given a name, numpy would add .npz to it
            np.savez(file, protocol=np.array(self.protocol), round=np.array(self.round), **arrays)

    @classmethod
    def load(cls, path: Union[str, pathlib.Path]) -> ServerView:
        """Reads what `save` wrote. Raises `DataError` for another file."""
        try:
            with np.load(path, allow_pickle=False) as file:
                received: dict[int, dict[str, np.ndarray]] = {}
                for key in file.files:
                    client, slash, name = key.partition("/")
                    if slash:
                        received.setdefault(int(client), {})[name] = file[key]
                return cls(str(file["protocol"]), int(file["round"]), received)
        except FileNotFoundError:
            raise DataError(f"{path} is missing: record a round with secure.observe=last.") from None
        except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise DataError(f"{path} is not the record of a round ({type(error).__name__}: {error}).") from None
