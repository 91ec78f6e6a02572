"""The models that an attacker at the server has: the global one, and what it can make of each client's message."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from fedlab.errors import FedlabError
from fedlab.randomness import generator
from fedlab.secure import SecureSum, ServerView


@dataclasses.dataclass(frozen=True)
class Victim:
    """A model: its weights, trainable first. `noise`: the standard deviation of what was put on them."""

    name: str
    weights: tuple[np.ndarray, ...]
    noise: float = 0.0

    def with_noise(self, stddev: float, num_trainable: int, seed: int) -> Victim:
        """The same with Gaussian noise on its trainable weights, drawn for its name."""
        rng = generator(seed, f"attack weight noise {self.name}")
        noisy = [w + rng.normal(0, stddev, w.shape).astype(w.dtype) for w in self.weights[:num_trainable]]
        return Victim(self.name, (*noisy, *self.weights[num_trainable:]), stddev)


def clients_of(
    view: ServerView, secure: SecureSum, names: Sequence[str], num_trainable: int, most: int, seed: int
) -> list[Victim]:
    """Clients' models as the server saw them: what it had sent out − update, for at most `most` of them.

    The server divides a weighted update by its weight, which comes with it. Of masked words it makes the numbers they would be
    without masks; where it can read nothing, the bytes of a message stand in, as fractions in [−1, 1). `names`: of all clients.
    Raises `FedlabError` where the record is no update of a model.
    """
    if view.layout is None or not view.model:
        raise FedlabError(f"the record of round {view.round} does not say which model clients had been sent: train again.")
    place = _place(view, num_trainable)
    protocol = secure.build(view.layout, view.most_clients, seed, view.round)
    clients = sorted(view.received)
    clients = [clients[i] for i in np.unique(np.linspace(0, len(clients) - 1, min(len(clients), most)).round().astype(int))]
    victims = []
    for client in clients:
        read = protocol.read(view, client)
        update = _bytes_as_numbers(view, client, num_trainable) if read is None else _unweighted(read, place, num_trainable)
        if update is None:  # it vanished before it had sent anything
            continue
        trained = [np.asarray(w - u, np.float32) for w, u in zip(view.model, update)]
        victims.append(Victim(f"client {names[client]}", (*trained, *view.model[num_trainable:])))
    protocol.close()
    if not victims:
        raise FedlabError(f"no client sent anything in round {view.round}, which is on record: record another one.")
    return victims


def _place(view: ServerView, num_trainable: int) -> int:
    """Where in a contribution the update begins: the last tensors that have the shapes of the weights, one after the other."""
    assert view.layout is not None
    wanted = [w.shape for w in view.model[:num_trainable]]
    tensors = view.layout.tensors
    for begin in range(len(tensors) - num_trainable, -1, -1):
        if [t.shape for t in tensors[begin : begin + num_trainable]] == wanted and all(
            t.is_float for t in tensors[begin : begin + num_trainable]
        ):
            return begin
    raise FedlabError(
        f"what clients sent in round {view.round} holds no plain update: attack.target=clients needs aggregator=mean or robust, "
        "and secure.scope=everything."
    )


def _unweighted(read: Sequence[np.ndarray], place: int, num_trainable: int) -> list[np.ndarray]:
    """The update, without the factor that follows it where clients weigh theirs."""
    end = place + num_trainable
    weight = read[end] if end < len(read) and np.ndim(read[end]) == 0 and read[end].dtype.kind == "f" else np.float32(1)
    return [u / (weight if weight else 1) for u in read[place:end]]


def _bytes_as_numbers(view: ServerView, client: int, num_trainable: int) -> list[np.ndarray] | None:
    """The message's bytes from the first on, over and again, as signed fractions in the shapes of the weights."""
    sent = [array.view(np.uint8).ravel() for array in view.received[client].values()]
    if not sum(map(len, sent)):
        return None
    weights = view.model[:num_trainable]
    sizes = np.cumsum([0, *(w.size for w in weights)])
    numbers = np.resize(np.concatenate(sent), sizes[-1]).view(np.int8).astype(np.float32) / 128
    return [numbers[a:b].reshape(w.shape) for a, b, w in zip(sizes, sizes[1:], weights)]
