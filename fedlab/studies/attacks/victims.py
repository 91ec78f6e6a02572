"""The models that an attacker at the server has: the global one, and one from each client's message."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from fedlab.errors import FedlabError
from fedlab.randomness import generator
from fedlab.secure import SecureSum, ServerView
from fedlab.secure.reading import place_of_update, trained_from, trained_places, unweighted


@dataclasses.dataclass(frozen=True)
class Victim:
    """A model: its weights, trainable first. `noise`: the standard deviation of the noise on them."""

    name: str
    weights: tuple[np.ndarray, ...]
    noise: float = 0.0

    def with_noise(self, stddev: float, num_trainable: int, seed: int) -> Victim:
        """Returns the model with Gaussian noise on its trainable weights. The noise depends on `seed` and on the name."""
        rng = generator(seed, f"attack weight noise {self.name}")
        noisy = [w + rng.normal(0, stddev, w.shape).astype(w.dtype) for w in self.weights[:num_trainable]]
        return Victim(self.name, (*noisy, *self.weights[num_trainable:]), stddev)


def clients_of(
    view: ServerView, secure: SecureSum, names: Sequence[str], num_trainable: int, most: int, seed: int
) -> list[Victim]:
    """Returns the models of at most `most` clients as the server sees them: the weights that it sent − update.

    The server divides a weighted update by its weight, which the message contains. It decodes masked words as if they had no
    masks. If it can decode nothing, it uses the bytes of the message, as fractions in [−1, 1). `names`: of all clients.
    Raises `FedlabError` if the record contains no update of a model.
    """
    if view.layout is None or not view.model:
        raise FedlabError(f"the record of round {view.round} does not say which model clients had been sent: train again.")
    place = place_of_update(view, num_trainable)
    if place is None:
        raise FedlabError(
            f"what clients sent in round {view.round} holds no plain update: attack.target=clients needs aggregator=mean or "
            "robust, and secure.scope=everything."
        )
    protocol = secure.build(view.layout, view.most_clients, seed, view.round)
    clients = sorted(view.received)
    clients = [clients[i] for i in np.unique(np.linspace(0, len(clients) - 1, min(len(clients), most)).round().astype(int))]
    victims, places = [], trained_places(view, num_trainable)
    for client in clients:
        read = protocol.read(view, client)
        update = _bytes_as_numbers(view, client, places) if read is None else unweighted(read, place, len(places))
        if update is None:  # the client dropped out before it sent anything
            continue
        victims.append(Victim(f"client {names[client]}", tuple(trained_from(view, update))))
    protocol.close()
    if not victims:
        raise FedlabError(f"no client sent anything in round {view.round}, which is on record: record another one.")
    return victims


def _bytes_as_numbers(view: ServerView, client: int, places: Sequence[int]) -> list[np.ndarray] | None:
    """Returns the bytes of the message, repeated, as signed fractions in the shapes of the weights; None without bytes."""
    sent = [array.view(np.uint8).ravel() for array in view.received[client].values()]
    if not sum(map(len, sent)):
        return None
    weights = [view.model[i] for i in places]
    sizes = np.cumsum([0, *(w.size for w in weights)])
    numbers = np.resize(np.concatenate(sent), sizes[-1]).view(np.int8).astype(np.float32) / 128
    return [numbers[a:b].reshape(w.shape) for a, b, w in zip(sizes, sizes[1:], weights)]
