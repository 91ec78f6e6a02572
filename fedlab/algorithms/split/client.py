"""A client of split learning: its images and labels, the lower part of the model and, in a U-shape, the top."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fedlab.algorithms.split.channel import Channel, Direction
from fedlab.algorithms.split.computing import Head, Inner
from fedlab.types import ExampleSet


class Client:
    """Computes on its own examples and communicates only through `channel`. `head`: in a U-shape; otherwise labels are sent."""

    def __init__(
        self,
        examples: ExampleSet,
        lower: Inner,
        head: Head | None,
        channel: Channel,
        batch_size: int,
        max_local_steps: int | None = None,
    ):
        self._examples, self._lower, self._head, self._channel = examples, lower, head, channel
        self._batch_size, self._max_local_steps = batch_size, max_local_steps
        self.weights: Sequence[Any] = ()  # of the lower part, then of the head; empty before they are received

    def receive_weights(self, direction: Direction) -> None:
        """Receives weights from the server, or ("across") directly from the client that had the last turn."""
        self.weights = self._channel.receive(direction, "weights")

    def send_weights(self, direction: Direction) -> None:
        """Sends its weights unchanged."""
        self._channel.send(direction, "weights", *self.weights)

    def send_examples(self, by_examples: bool) -> None:
        """Sends this client's weight: its number of examples, or 1 if all clients count equally."""
        self._channel.send("up", "examples", np.array([len(self._examples) if by_examples else 1], np.int64))

    def begin(self, order: np.ndarray, key: np.ndarray, factor: np.ndarray) -> None:
        """Begins a turn. `order` int32 [epochs, n]: the order of its examples; `factor`: of the learning rate."""
        count, size = len(self._examples), self._batch_size
        batches = [epoch[i : i + size] for epoch in order for i in range(0, count, size)]
        self._batches = iter(batches[: self._max_local_steps])
        self._key, self._factor = key, factor
        self._lower_slots, self._head_slots = self._lower.start(), self._head.start() if self._head else []
        self.scores: list[dict[str, Any]] = []  # per batch the sums of the task's metrics; in a U-shape

    def send_activations(self) -> bool:
        """Sends the activations of the next batch, with its labels unless they stay. Returns False at the end of the turn."""
        batch = next(self._batches, None)
        if batch is None:
            return False
        self._key = self._key + np.array([0, 1])  # a different dropout mask for each batch
        self._x, self._y = self._examples.x[batch], self._examples.y[batch]
        self._channel.send("up", "activations", self._lower.forward(self._lower_weights, self._x, self._key))
        if self._head is None:
            self._channel.send("up", "labels", self._y)
        return True

    def answer_features(self) -> None:
        """U-shape: computes the loss at the client and sends its gradient."""
        assert self._head is not None
        (features,) = self._channel.receive("down", "features")
        weights, self._head_slots, gradient, scores = self._head.step(
            self._head_weights, self._head_slots, self._factor, features, self._y, self._key + np.array([1, 0])
        )
        self.weights = [*self._lower_weights, *weights]
        self.scores.append(scores)
        self._channel.send("up", "feature_gradients", gradient)

    def receive_gradients(self) -> None:
        """Takes the step of the lower part."""
        (gradient,) = self._channel.receive("down", "gradients")
        weights, self._lower_slots, _ = self._lower.backward(
            self._lower_weights, self._lower_slots, self._factor, self._x, gradient, self._key
        )
        self.weights = [*weights, *self._head_weights]

    @property
    def _num_lower(self) -> int:
        return len(self._lower.part.positions)

    @property
    def _lower_weights(self) -> Sequence[Any]:
        return self.weights[: self._num_lower]

    @property
    def _head_weights(self) -> Sequence[Any]:
        return self.weights[self._num_lower :]
