"""The training of a process whose clients keep state."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow_federated as tff

from fedlab.algorithms.base import Parts, Setting
from fedlab.algorithms.keeping import Keeping
from fedlab.algorithms.trainer import ProcessTrainer
from fedlab.engine import RoundInput
from fedlab.errors import FedlabError
from fedlab.lowering import KEPT
from fedlab.models.training import picked
from fedlab.rows import PIECE_BYTES, Rows
from fedlab.types import Cohort

_DIGEST = 32  # bytes of a SHA-256
_LARGE = 1e9  # bytes of client state from which on the user is informed


class KeepingTrainer(ProcessTrainer):
    """Passes each client of a cohort its state, and stores its new state.

    State: the process's, the positions of the clients that have stored state, and a row for each of them. The rows are on disk
    (`fedlab.rows`), so that memory and seconds of a round depend on its cohort, and not on the number of clients.
    """

    def __init__(self, process: tff.templates.IterativeProcess, keeping: Keeping, parts: Parts, setting: Setting):
        self._keeping = keeping
        self._rows = self._no_rows(setting)
        self._digest = 0  # sum of the rows' digests, so that the cost of a round depends only on its cohort
        super().__init__(process, parts, setting)

    def _no_rows(self, setting: Setting) -> Rows:
        return Rows(len(setting.partition), self._keeping.kept, setting.scratch)

    @property
    def models(self) -> Sequence[list] | None:
        """Returns each client's own model, computed when it is read; None if there is one model for all."""
        return None if self._keeping.own_model is None else Models(self._parts.num_clients, self._model_of)

    @property
    def global_model(self) -> list | None:
        return self.weights if self._keeping.own_model and self._keeping.model is None else None

    @property
    def unseen_model(self) -> str:
        choice = "the one of the global models that has the smallest loss for the client"
        return choice if self._keeping.for_unseen else super().unseen_model

    def models_for_unseen(self, client: int) -> Sequence[list]:
        if not self._keeping.for_unseen:
            return super().models_for_unseen(client)
        return [self._own_model(kept) for kept in self._keeping.for_unseen]

    def _model_of(self, client: int) -> list:
        return self._own_model(self.kept_by(client))

    def _own_model(self, kept: tuple[np.ndarray, ...]) -> list:
        """Returns the weights of the own model of a client with this state."""
        assert self._keeping.own_model is not None
        sent, num_sent = self.weights, len(self._sent_model.initial_weights[0])
        fixed = tuple(sent[num_sent:])
        received = (*sent[:num_sent], *picked(self._sent_model.statistics, fixed))
        trainable, fixed = self._parts.model.divided(self._keeping.own_model(received, kept), fixed)
        return [*trainable, *fixed]

    @property
    def _sent_model(self) -> Any:
        return self._keeping.model or self._parts.model

    @property
    def hashed(self) -> list:
        """Returns the weights and, if client state is part of clients' models, a digest of all rows."""
        digest = [np.frombuffer(self._digest.to_bytes(_DIGEST, "big"), np.uint8)]
        return [*self.weights, *(digest if self._keeping.own_model and self._keeping.kept else ())]

    def lines(self) -> list[str]:
        size = sum(a.nbytes for a in self._keeping.kept) * self._parts.num_clients
        return [f"clients keep up to {size / 1e9:.1f} GB, on disk and in each checkpoint"] if size >= _LARGE else []

    def kept_by(self, client: int) -> tuple[np.ndarray, ...]:
        """Returns the state of the client at this position of the partition."""
        return tuple(tensor[0, ...] for tensor in self._rows.read(np.array([client])))

    @property
    def state(self) -> list:
        return [*self._state_of_process, *self._rows.snapshot().tensors()]

    def restore(self, state: Sequence[np.ndarray]) -> None:
        count = len(self._state_of_process)
        positions, *rows = state[count:] or [np.zeros(0)]
        shapes = [(len(positions), *a.shape) for a in self._keeping.kept]
        if [r.shape for r in rows] != shapes or np.any(positions >= len(self._setting.partition)):
            raise FedlabError("the checkpoint belongs to another model or process than this run's.")
        super().restore(state[:count])
        self._rows, self._digest = self._no_rows(self._setting), 0  # new files: a state returned earlier needs the old ones
        size = max(1, PIECE_BYTES // max(1, sum(a.nbytes for a in self._keeping.kept)))
        for i in range(0, len(positions), size):
            self._keep(np.asarray(positions[i : i + size]), [np.asarray(r[i : i + size]) for r in rows])

    def _empty(self) -> RoundInput:
        return dataclasses.replace(super()._empty(), kept=self._given(np.zeros(0, np.int64)))

    def next(self, cohort: Cohort, given: RoundInput) -> Any:
        return super().next(cohort, dataclasses.replace(given, kept=self._given(given.clients)))

    def _given(self, clients: np.ndarray) -> tuple[np.ndarray, ...]:
        """Returns the clients' positions and their states, [K, …] each."""
        return (clients.astype(np.int32), *self._rows.read(clients))

    def _computed(self, given: RoundInput) -> dict[str, Any]:
        metrics = super()._computed(given)
        found = [metrics.pop(name) for name in [name for name in metrics if KEPT in name.split("/")]]
        if found:
            self._keep(found[0], found[1:])
        return metrics

    def _keep(self, clients: np.ndarray, rows: Sequence[np.ndarray]) -> None:
        """Stores the new `rows` of `clients`, [K, …] each."""
        if self._keeping.own_model:
            own = self._rows.written(clients)
            before = _digest(clients[own], self._rows.read(clients[own]))
            self._digest = (self._digest + _digest(clients, rows) - before) % 256**_DIGEST
        self._rows.write(clients, rows)

    def close(self) -> None:
        self._rows.close()
        super().close()


def _digest(clients: np.ndarray, rows: Sequence[np.ndarray]) -> int:
    """Returns the sum of the digests of the `rows` of `clients`, [K, …] each."""
    total = 0
    for k, client in enumerate(clients.tolist()):
        found = hashlib.sha256(client.to_bytes(8, "big"))
        for tensor in rows:
            found.update(np.ascontiguousarray(tensor[k]).data)
        total += int.from_bytes(found.digest(), "big")
    return total


class Models(Sequence):
    """The clients' models, each of them computed when it is read."""

    def __init__(self, num_clients: int, model_of: Callable[[int], list]):
        self._num_clients, self._model_of = num_clients, model_of

    def __len__(self) -> int:
        return self._num_clients

    def __getitem__(self, client: Any) -> Any:
        return self._model_of(range(self._num_clients)[client])
