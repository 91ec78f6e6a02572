"""The relay of split learning: hands clients' parts of the model on, or averages them. Not the server that sees activations.

Thapa et al. 2022 call it the fed server. Whoever had a client's weights and its activations could look for the images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fedlab.split.averaging import mean_of
from fedlab.split.channel import Channel


class Relay:
    """Has the clients' part between two turns, or two rounds. `weights`: those to begin with."""

    def __init__(self, weights: Sequence[Any], channel: Channel):
        self.weights, self._channel = weights, channel
        self._copies: list[tuple[int, Sequence[Any]]] = []

    def send(self) -> None:
        """The newest weights down."""
        self._channel.send("down", "weights", *self.weights)

    def receive(self) -> None:
        """Sequential: those of the client that had them."""
        self.weights = self._channel.receive("up", "weights")

    def collect(self) -> None:
        """Parallel: one client's copy, and how much it counts for."""
        ((count,),) = self._channel.receive("up", "examples")
        self._copies.append((int(count), self._channel.receive("up", "weights")))

    def average(self) -> None:
        """Parallel: the mean of the copies."""
        self.weights = mean_of(self._copies)
        self._copies = []
