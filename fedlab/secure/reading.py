"""Reads clients' updates and models from the server's view of a round, as far as the server can read them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fedlab.secure.protocol import Protocol
from fedlab.secure.view import ServerView


def trained_places(view: ServerView, num_trainable: int) -> Sequence[int]:
    """Returns the positions in `view.model` of the weights that an update covers: the trainable ones and batch statistics."""
    return view.trained or range(num_trainable)


def place_of_update(view: ServerView, num_trainable: int) -> int | None:
    """Returns the position of the update in a contribution: the last consecutive tensors with the shapes of the weights.

    None if there are none, as when clients send quantised or compressed updates.
    """
    if view.layout is None:
        return None
    wanted = [view.model[i].shape for i in trained_places(view, num_trainable)]
    tensors = view.layout.tensors
    for begin in range(len(tensors) - len(wanted), -1, -1):
        chosen = tensors[begin : begin + len(wanted)]
        if [t.shape for t in chosen] == wanted and all(t.is_float for t in chosen):
            return begin
    return None


def unweighted(read: Sequence[np.ndarray], place: int, count: int) -> list[np.ndarray]:
    """Returns the update, of `count` tensors at `place`, divided by the weight that follows it, if any."""
    end = place + count
    weight = read[end] if end < len(read) and np.ndim(read[end]) == 0 and read[end].dtype.kind == "f" else np.float32(1)
    return [u / (weight if weight else 1) for u in read[place:end]]


def trained_from(view: ServerView, update: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Returns the weights of a client's model, trainable first: those that the server sent − `update`, float32."""
    model = list(view.model)
    for place, change in zip(trained_places(view, len(update)), update):
        model[place] = np.asarray(model[place] - change, np.float32)
    return model


def models_in(view: ServerView, protocol: Protocol, num_trainable: int) -> dict[int, list[np.ndarray]] | None:
    """Returns the weights of the model of each client that sent one, by client in ascending order; None if there are no updates
    in the messages."""
    place, count = place_of_update(view, num_trainable), len(trained_places(view, num_trainable))
    if place is None:
        return None
    read = {client: protocol.read(view, client) for client in sorted(view.received)}
    return {c: trained_from(view, unweighted(r, place, count)) for c, r in read.items() if r is not None}
