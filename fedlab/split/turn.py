"""One client's turn: who speaks when. It passes no data, only the word."""

from __future__ import annotations

import numpy as np

from fedlab.split.client import Client
from fedlab.split.server import Server


def take_turn(
    client: Client, server: Server, order: np.ndarray, keys: tuple[np.ndarray, np.ndarray], factor: np.ndarray, u_shaped: bool
) -> None:
    """The client's local epochs in the order `order`. `keys`: of what the client and the server draw."""
    client.begin(order, keys[0], factor)
    server.begin(keys[1], factor)
    while client.send_activations():
        server.answer_activations()
        if u_shaped:
            client.answer_features()
            server.answer_gradients()
        client.receive_gradients()
