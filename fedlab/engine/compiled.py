"""The default engine: one federated round is one call of one TensorFlow graph, traced once per run."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fedlab import cores, lowering
from fedlab.engine import RoundInput, State
from fedlab.engine.resident import resident
from fedlab.errors import ConfigError
from fedlab.secure import ServerView
from fedlab.types import ExampleSet


class CompiledEngine:
    """Runs a lowered process over examples that stay on the device."""

    observed: ServerView | None = None  # no protocol is run

    def __init__(self, process: tff.templates.IterativeProcess, examples: ExampleSet, parallel_clients: int | None = None):
        started = time.perf_counter()
        self._lowered = lowering.lower(process)
        if self._lowered.secure_leaves:
            raise ConfigError(
                "this aggregator asks for secure sums, and its class does not say so, so no protocol was prepared: state "
                "marks_sums = True in it, or use aggregator=secure."
            )
        self.seconds = {"lowering": time.perf_counter() - started}
        on_gpu = bool(tf.config.list_logical_devices("GPU"))
        self._parallel = parallel_clients or (1 if on_gpu else cores.available())
        self._x, self._y = resident(examples)
        self.state_names = [path for path, _ in lowering.leaves(self._lowered.state_type)]
        self._metric_names = ["/".join(path) for path, _ in lowering.leaves(self._lowered.metrics_type)]
        self.bytes_down = lowering.num_bytes(self._lowered.message_type)
        self.bytes_up = lowering.num_bytes(self._lowered.contribution_type)
        self.num_traces = 0
        started = time.perf_counter()
        self._round = tf.function(
            self._traced_round,
            autograph=False,
            input_signature=[
                lowering.tensor_specs(self._lowered.state_type),
                tf.TensorSpec([None], tf.int32),
                tf.TensorSpec([None], tf.int32),
                tf.TensorSpec([None, None], tf.int32),
                tf.TensorSpec([None, 2], tf.int64),
                tf.TensorSpec([2], tf.int64),
            ],
        ).get_concrete_function()  # not the function, which warns of every trace after the fifth, also of another engine's
        self.seconds["tracing"] = time.perf_counter() - started

    def initialize(self, key: np.ndarray) -> State:
        function = tf.function(lambda key: list(self._lowered.initialize(key=key)), autograph=False)
        return list(function.get_concrete_function(tf.TensorSpec([2], tf.int64))(tf.constant(key)))

    def next(self, state: State, round_input: RoundInput) -> tuple[State, dict[str, Any]]:
        r = round_input
        arrays = [tf.constant(a) for a in (r.indices, r.row_splits, r.order, r.keys, r.server_key)]
        new_state, metrics = self._round(state, *arrays)
        return new_state, {name: value.numpy() for name, value in zip(self._metric_names, metrics)}

    def close(self) -> None:
        self._x = self._y = None

    def _traced_round(self, state, indices, row_splits, order, keys, server_key):
        self.num_traces += 1
        process = self._lowered
        # What the server draws before, while and after it hears from the clients
        before, while_, after = tf.unstack(server_key + tf.constant([[1, 0], [2, 0], [3, 0]], tf.int64))
        message = process.prepare(*state, key=before)

        def one_client(k, total):
            begin, end = row_splits[k], row_splits[k + 1]
            mine = indices[begin:end]
            data = (order[:, begin:end], tf.gather(self._x, mine), tf.gather(self._y, mine))
            contribution = process.work(*data, *message, key=keys[k])
            return k + 1, process.accumulate(*total, *contribution, key=while_ + tf.cast([0, k], tf.int64))

        specs = lowering.tensor_specs(process.accumulator_type)
        _, total = tf.while_loop(
            lambda k, _: k < tf.size(row_splits) - 1,
            one_client,
            [tf.constant(0), list(process.zero(key=while_))],
            shape_invariants=[tf.TensorShape([]), [s.shape for s in specs]],
            parallel_iterations=self._parallel,
        )
        result = process.update(*state, *process.report(*total, key=after), key=after + tf.constant([1, 0], tf.int64))
        num_state = len(self.state_names)
        return list(result[:num_state]), list(result[num_state:])
