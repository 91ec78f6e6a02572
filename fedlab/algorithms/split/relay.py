"""The relay of split learning: passes on or averages clients' parts of the model. It is not the server that sees activations.

Thapa et al. 2022 call it the fed server. A party with both a client's weights and its activations could reconstruct the images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fedlab.algorithms.split.averaging import mean_of
from fedlab.algorithms.split.channel import Channel


class Relay:
    """Stores the clients' part between two turns or rounds. `weights`: the initial weights."""

    def __init__(self, weights: Sequence[Any], channel: Channel):
        self.weights, self._channel = weights, channel
        self._copies: list[tuple[int, Sequence[Any]]] = []

    def send(self) -> None:
        """Sends the newest weights."""
        self._channel.send("down", "weights", *self.weights)

    def receive(self) -> None:
        """Sequential: receives the weights of the last client."""
        self.weights = self._channel.receive("up", "weights")

    def collect(self) -> None:
        """Parallel: receives one client's copy and its weight in the mean."""
        ((count,),) = self._channel.receive("up", "examples")
        self._copies.append((int(count), self._channel.receive("up", "weights")))

    def average(self) -> None:
        """Parallel: averages the copies."""
        self.weights = mean_of(self._copies)
        self._copies = []
