"""One client's turn: the order of the messages. It passes no data itself."""

from __future__ import annotations

import numpy as np

from fedlab.algorithms.split.client import Client
from fedlab.algorithms.split.server import Server


def take_turn(
    client: Client, server: Server, order: np.ndarray, keys: tuple[np.ndarray, np.ndarray], factor: np.ndarray, u_shaped: bool
) -> None:
    """Runs the client's local epochs in the order `order`. `keys`: for the draws of the client and of the server."""
    client.begin(order, keys[0], factor)
    server.begin(keys[1], factor)
    while client.send_activations():
        server.answer_activations()
        if u_shaped:
            client.answer_features()
            server.answer_gradients()
        client.receive_gradients()
