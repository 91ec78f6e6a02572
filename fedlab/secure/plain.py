"""No protection: every client sends its vectors to the server as they are."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import ClassVar

import numpy as np

from fedlab.secure.layout import Layout
from fedlab.secure.protocol import Contribution, Dropouts, Outcome, Protocol, SecureSum, pair
from fedlab.secure.transcript import Transcript
from fedlab.secure.view import ServerView
from fedlab.spec import Promise


class Plain(SecureSum):
    """Options of plain sums: the server sees each update."""

    name: ClassVar[str] = "plain"
    vouches: ClassVar[tuple[Promise, ...]] = ("privacy", "same bits")
    sums_whoever_stays: ClassVar[bool] = True

    def build(self, layout: Layout, most_clients: int, seed: int = 0, num_rounds: int | None = None) -> Protocol:
        return PlainSum(self, layout, most_clients, seed, num_rounds)


@dataclasses.dataclass(frozen=True)
class Update:
    """Client → server: the update, unprotected."""

    update: tuple[np.ndarray, ...]


class PlainSum(Protocol):
    """Adds in float64 and int64, in the order of the clients."""

    def _run(
        self,
        round: int,
        clients: tuple[int, ...],
        contributions: Iterable[Contribution],
        dropouts: Dropouts | None,
        transcript: Transcript,
    ) -> Outcome:
        gone = (self._draw_dropouts(clients, round) if dropouts is None else dropouts).without_input
        totals: list[np.ndarray] = [np.zeros(t.shape, np.float64 if t.is_float else np.int64) for t in self.layout.tensors]
        included = []
        for client, arrays in pair(clients, contributions):
            self.layout.check(arrays)
            if client in gone:
                continue
            with transcript.phase("updates"):
                transcript.up(client, Update(tuple(np.asarray(a) for a in arrays)), contributes=True)
                for total, array in zip(totals, arrays):
                    total += np.asarray(array).astype(total.dtype)
            included.append(client)
        result = [total.astype(t.dtype) if t.is_float else total for total, t in zip(totals, self.layout.tensors)]
        return Outcome(result, tuple(included), transcript.phases, server_view=transcript.view, senders=transcript.senders)

    def read(self, view: ServerView, client: int) -> list[np.ndarray] | None:
        seen = view.received.get(client, {})
        if "update/0" not in seen:
            return None
        return [seen[f"update/{i}"] for i in range(len(self.layout.tensors))]
