"""The server of split learning: the upper part of the model. Images and the clients' weights never come to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fedlab.split.averaging import mean_of
from fedlab.split.channel import Channel
from fedlab.split.computing import Head, Inner


class Server:
    """Computes on what comes through `channel`. `upper`: the model's end where labels come up, else its middle (U-shape)."""

    def __init__(self, upper: Head | Inner, channel: Channel):
        self._upper, self._channel = upper, channel
        self.weights: Sequence[Any] = [*upper.part.trainable, *upper.part.non_trainable]
        self._copies: list[tuple[int, Sequence[Any]]] = []  # parallel: how much each counts for, and its weights

    def begin(self, key: np.ndarray, factor: np.ndarray) -> None:
        """Begins the turn of a client, with the weights as they are."""
        self._key, self._factor, self._slots = key, factor, self._upper.start()
        self.scores: list[tuple[Any, Any, int]] = []  # per batch: sum of losses, number correct, examples; where labels come up

    def begin_round(self) -> None:
        """Parallel: from here on every client has a copy of its own (SplitFedV1)."""
        self._common, self._copies = self.weights, []

    def keep_copy(self) -> None:
        """Parallel: lays the copy of the client that has ended its turn aside, and takes up a fresh one."""
        ((count,),) = self._channel.receive("up", "examples")
        self._copies.append((int(count), self.weights))
        self.weights = self._common

    def end_round(self) -> None:
        """Parallel: the mean of the copies."""
        self.weights = mean_of(self._copies)
        self._copies = []

    def answer_activations(self) -> None:
        """Where labels come up, a step and the gradient down; in a U-shape the features down."""
        (self._activations,) = self._channel.receive("up", "activations")
        self._key = self._key + np.array([0, 1])  # another dropout for each batch
        if isinstance(self._upper, Inner):
            self._channel.send("down", "features", self._upper.forward(self.weights, self._activations, self._key))
            return
        (labels,) = self._channel.receive("up", "labels")
        self.weights, self._slots, gradient, scores = self._upper.step(
            self.weights, self._slots, self._factor, self._activations, labels, self._key
        )
        self.scores.append((*scores, len(labels)))
        self._channel.send("down", "gradients", gradient)

    def answer_gradients(self) -> None:
        """U-shape: the middle takes its step and hands the gradient down."""
        assert isinstance(self._upper, Inner)
        (gradient,) = self._channel.receive("up", "feature_gradients")
        self.weights, self._slots, down = self._upper.backward(
            self.weights, self._slots, self._factor, self._activations, gradient, self._key
        )
        self._channel.send("down", "gradients", down)
