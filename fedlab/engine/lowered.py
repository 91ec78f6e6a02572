"""The common base of the engines that run a lowered process: construction, initial state, keys, a client's data."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fedlab import cores, lowering
from fedlab.engine import RoundInput, State, block_size
from fedlab.engine.resident import resident
from fedlab.secure import ServerView
from fedlab.types import ExampleSet

BEFORE, WHILE, AFTER = 1, 2, 3  # the server draws before, while and after the clients report


class LoweredEngine:
    """Stores a lowered process, and the examples on its device. `seconds` begins with the phase "lowering"."""

    observed: ServerView | None = None

    def __init__(self, process: tff.templates.IterativeProcess, examples: ExampleSet, parallel_clients: int | None = None):
        """`parallel_clients`: the number of clients to compute in parallel; None: one per core, or 1 on a GPU."""
        started = time.perf_counter()
        self._lowered = lowering.lower(process)
        self.seconds = {"lowering": time.perf_counter() - started}
        on_gpu = bool(tf.config.list_logical_devices("GPU"))
        self._parallel = parallel_clients or (1 if on_gpu else cores.available())
        self._x, self._y = resident(examples)
        self.state_names = [path for path, _ in lowering.leaves(self._lowered.state_type)]
        self._metric_names = ["/".join(path) for path, _ in lowering.leaves(self._lowered.metrics_type)]
        self.bytes_down = lowering.num_bytes(self._lowered.message_type)
        self.bytes_up = lowering.num_bytes_sent(self._lowered.contribution_type)

    def initialize(self, key: np.ndarray) -> State:
        function = tf.function(lambda key: list(self._lowered.initialize(key=key)), autograph=False)
        return list(function.get_concrete_function(tf.TensorSpec([2], tf.int64))(tf.constant(key)))

    def close(self) -> None:
        self._x = self._y = None

    def _given_specs(self) -> list[tf.TensorSpec]:
        """Returns the specs of what a client's data element contains in addition to examples, such as the client's state."""
        return [tf.TensorSpec(t.shape, t.dtype) for path, t in lowering.leaves(self._lowered.element_type) if path[0] == "kept"]

    def _kept_specs(self) -> list[tf.TensorSpec]:
        """Returns the specs of a client's new state."""
        return self._lowered.apart(lowering.tensor_specs(self._lowered.contribution_type))[0]

    def _contribution(self, message: Any, kept: Any, indices: tf.Tensor, order: tf.Tensor, key: tf.Tensor) -> list:
        """Returns one client's contribution, in a graph, including the client's state at the positions `kept` of the process."""
        data = (*kept, order, tf.gather(self._x, indices), tf.gather(self._y, indices))
        return list(self._lowered.work(*data, *message, key=key))

    def _accumulated(
        self, first: tf.Tensor, stop: tf.Tensor, contribution: Callable[..., list], key: tf.Tensor, parallel: int
    ) -> tuple[list, list]:
        """Sums, in a graph, the contributions of the clients `first`, …, `stop` − 1, `parallel` of them at the same time.

        Returns the accumulator without client states, and the client states, a row per client: they are collected separately,
        because they would make the running sum grow. `contribution`: k → the contribution of client k. `key`: for the server's
        draws during the addition.
        """
        process = self._lowered
        rowless, zero = process.apart(process.zero(key=key))
        rows = [tf.TensorArray(s.dtype, stop - first, element_shape=s.shape) for s in self._kept_specs()]

        def add(k: tf.Tensor, total: list, rows: list) -> tuple[tf.Tensor, list, list]:
            given = contribution(k)
            new = process.accumulate(*process.together(rowless, total), *given, key=key + tf.cast([0, k], tf.int64))
            rows = [array.write(k - first, row) for array, row in zip(rows, process.apart(given)[0])]
            return k + 1, process.apart(new)[1], rows

        _, total, rows = tf.while_loop(
            lambda k, *_: k < stop,
            add,
            [first, zero, rows],
            shape_invariants=[tf.TensorShape([]), self._sum_shapes(), [tf.TensorShape(None) for _ in rows]],
            parallel_iterations=parallel,
        )
        return total, [array.stack() for array in rows]

    def _merged(self, count: tf.Tensor, contribution: Callable[..., list], key: tf.Tensor, parallel: int) -> tuple[list, list]:
        """Like `_accumulated` for the clients 0, …, `count` − 1, block by block, `parallel` blocks in parallel."""
        process, size = self._lowered, tf.maximum(block_size(count), 1)
        rowless, zero = process.apart(process.zero(key=key))
        num_blocks = (count + size - 1) // size
        rows = [
            tf.TensorArray(s.dtype, num_blocks, element_shape=[None, *s.shape], infer_shape=False) for s in self._kept_specs()
        ]

        def merge(b: tf.Tensor, total: list, rows: list) -> tuple[tf.Tensor, list, list]:
            first = b * size
            block, kept = self._accumulated(first, tf.minimum(first + size, count), contribution, key, 1)
            pair = process.together(rowless, total), process.together(rowless, block)
            new = process.merge(*pair[0], *pair[1], key=key + tf.cast([0, count + b], tf.int64))
            return b + 1, process.apart(new)[1], [array.write(b, row) for array, row in zip(rows, kept)]

        _, total, rows = tf.while_loop(
            lambda b, *_: b < num_blocks,
            merge,
            [tf.constant(0), zero, rows],
            shape_invariants=[tf.TensorShape([]), self._sum_shapes(), [tf.TensorShape(None) for _ in rows]],
            parallel_iterations=parallel,
        )
        return total, [array.concat() for array in rows]

    def _sum_shapes(self) -> list[tf.TensorShape]:
        """Returns the shapes of the accumulator, without client states."""
        return [s.shape for s in self._lowered.apart(lowering.tensor_specs(self._lowered.accumulator_type))[1]]

    def _named(self, metrics: Any) -> dict[str, Any]:
        return {name: value.numpy() for name, value in zip(self._metric_names, metrics)}


def moment(server_key: tf.Tensor, number: int) -> tf.Tensor:
    """Returns the key for the server's draws at the moment `number`."""
    return server_key + tf.constant([number, 0], tf.int64)


def constants(round_input: RoundInput) -> list:
    """Returns a round's arrays as tensors, with the client states in a separate list."""
    r = round_input
    return [*(tf.constant(a) for a in (r.indices, r.row_splits, r.order, r.keys, r.server_key)), [tf.constant(a) for a in r.kept]]
