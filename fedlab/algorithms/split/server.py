"""The server of split learning: the upper part of the model. It receives neither images nor the clients' weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fedlab.algorithms.split.averaging import mean_of
from fedlab.algorithms.split.channel import Channel
from fedlab.algorithms.split.computing import Head, Inner


class Server:
    """Computes on the messages of `channel`. `upper`: the model's end if labels are sent, else its middle (U-shape)."""

    def __init__(self, upper: Head | Inner, channel: Channel):
        self._upper, self._channel = upper, channel
        self.weights: Sequence[Any] = [*upper.part.trainable, *upper.part.non_trainable]
        self._copies: list[tuple[int, Sequence[Any]]] = []  # parallel: each copy's weight in the mean, and the copy

    def begin(self, key: np.ndarray, factor: np.ndarray) -> None:
        """Begins the turn of a client with the current weights."""
        self._key, self._factor, self._slots = key, factor, self._upper.start()
        self.scores: list[dict[str, Any]] = []  # per batch the sums of the task's metrics; if labels are sent

    def begin_round(self) -> None:
        """Parallel: begins a round in which every client has its own copy (SplitFedV1)."""
        self._common, self._copies = self.weights, []

    def keep_copy(self) -> None:
        """Parallel: stores the copy of the client whose turn has ended, and restores the weights from the start of the round."""
        ((count,),) = self._channel.receive("up", "examples")
        self._copies.append((int(count), self.weights))
        self.weights = self._common

    def end_round(self) -> None:
        """Parallel: averages the copies."""
        self.weights = mean_of(self._copies)
        self._copies = []

    def answer_activations(self) -> None:
        """Takes a step and sends the gradient, if labels are sent; in a U-shape sends the features."""
        (self._activations,) = self._channel.receive("up", "activations")
        self._key = self._key + np.array([0, 1])  # a different dropout mask for each batch
        if isinstance(self._upper, Inner):
            self._channel.send("down", "features", self._upper.forward(self.weights, self._activations, self._key))
            return
        (labels,) = self._channel.receive("up", "labels")
        self.weights, self._slots, gradient, scores = self._upper.step(
            self.weights, self._slots, self._factor, self._activations, labels, self._key
        )
        self.scores.append(scores)
        self._channel.send("down", "gradients", gradient)

    def answer_gradients(self) -> None:
        """U-shape: takes the step of the middle part and sends the gradient."""
        assert isinstance(self._upper, Inner)
        (gradient,) = self._channel.receive("up", "feature_gradients")
        self.weights, self._slots, down = self._upper.backward(
            self.weights, self._slots, self._factor, self._activations, gradient, self._key
        )
        self._channel.send("down", "gradients", down)
