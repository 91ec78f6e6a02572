"""The work of a workload as bench.py exports it, and the results as bench.py reads them. Needs NumPy only."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterable

import numpy as np


@dataclasses.dataclass(frozen=True)
class Exercise:
    """Clients, cohorts, initial weights and hyperparameters, equal for all contenders.

    `x` [clients, n, …]: float32 images in [0, 1], height × width × channels; or int32 tokens. `y` [clients, n] or [clients, n,
    length], int32; in text, targets of 0 are padding. `cohorts` [rounds, K] name clients by their position in x, in the order of
    `numbers`, their numbers among all `num_clients`. `weights`: as Keras orders and lays them out. A client visits its examples
    once, as they lie, in batches of `batch_size`, with plain SGD; the server takes the mean of the clients' models.
    """

    model: str  # perceptron, mlp, cnn, resnet18_gn or char_lstm
    algorithm: str  # fed_avg or scaffold (option II)
    num_clients: int
    batch_size: int
    learning_rate: float
    x: np.ndarray
    y: np.ndarray
    cohorts: np.ndarray
    weights: list[np.ndarray]

    def save(self, path: str) -> None:
        named = {f"weight_{i}": w for i, w in enumerate(self.weights)}
        options = {
            f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in ("x", "y", "cohorts", "weights")
        }
        np.savez(path, x=self.x, y=self.y, cohorts=self.cohorts, options=json.dumps(options), **named)

    @classmethod
    def load(cls, path: str) -> Exercise:
        with np.load(path) as saved:
            weights = [saved[f"weight_{i}"] for i in range(sum(name.startswith("weight_") for name in saved))]
            options = json.loads(str(saved["options"]))
            return cls(**options, x=saved["x"], y=saved["y"], cohorts=saved["cohorts"], weights=weights)


def run(out: str, rounds: Iterable[list[np.ndarray]]) -> None:
    """Measures each step of `rounds`, which yields the weights after a round; writes seconds and final weights."""
    seconds, first_ended, weights, iterator = [], 0.0, [], iter(rounds)
    while True:
        started = time.perf_counter()
        found = next(iterator, None)
        if found is None:
            break
        weights = found
        seconds.append(time.perf_counter() - started)
        first_ended = first_ended or time.time()
    np.savez(out, *weights, seconds=seconds, first_ended=first_ended)
