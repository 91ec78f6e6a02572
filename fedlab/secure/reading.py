"""Reads clients' updates and models from the server's view of a round, as far as the server can read them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fedlab.secure.protocol import Protocol
from fedlab.secure.view import ServerView


def place_of_update(view: ServerView, num_trainable: int) -> int | None:
    """Returns the position of the update in a contribution: the last consecutive tensors with the shapes of the weights.

    None if there are none, as when clients send quantised or compressed updates.
    """
    if view.layout is None:
        return None
    wanted = [w.shape for w in view.model[:num_trainable]]
    tensors = view.layout.tensors
    for begin in range(len(tensors) - num_trainable, -1, -1):
        chosen = tensors[begin : begin + num_trainable]
        if [t.shape for t in chosen] == wanted and all(t.is_float for t in chosen):
            return begin
    return None


def unweighted(read: Sequence[np.ndarray], place: int, num_trainable: int) -> list[np.ndarray]:
    """Returns the update at `place`, divided by the weight that follows it, if any."""
    end = place + num_trainable
    weight = read[end] if end < len(read) and np.ndim(read[end]) == 0 and read[end].dtype.kind == "f" else np.float32(1)
    return [u / (weight if weight else 1) for u in read[place:end]]


def trained_from(view: ServerView, update: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Returns the weights of a client's model, trainable first: those that the server sent − `update`, float32."""
    trained = [np.asarray(w - u, np.float32) for w, u in zip(view.model, update)]
    return [*trained, *view.model[len(update) :]]


def models_in(view: ServerView, protocol: Protocol, num_trainable: int) -> dict[int, list[np.ndarray]] | None:
    """Returns the weights of the model of each client that sent one, by client in ascending order; None if there are no updates
    in the messages."""
    place = place_of_update(view, num_trainable)
    if place is None:
        return None
    read = {client: protocol.read(view, client) for client in sorted(view.received)}
    return {c: trained_from(view, unweighted(r, place, num_trainable)) for c, r in read.items() if r is not None}
