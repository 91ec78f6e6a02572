"""The default engine: one federated round is one call of one TensorFlow graph, traced once per run."""

from __future__ import annotations

import functools
import threading
import time
from typing import Any

import tensorflow as tf
import tensorflow_federated as tff

from fedlab import lowering
from fedlab.engine import MOST_BLOCKS, RoundInput, State
from fedlab.engine.lowered import AFTER, BEFORE, WHILE, LoweredEngine, constants, moment
from fedlab.errors import ConfigError
from fedlab.types import ExampleSet


class CompiledEngine(LoweredEngine):
    """Runs a lowered process over examples that stay on the device."""

    side_by_side = True

    def __init__(self, process: tff.templates.IterativeProcess, examples: ExampleSet, parallel_clients: int | None = None):
        super().__init__(process, examples, parallel_clients)
        if self._lowered.secure_leaves:
            raise ConfigError(
                "this aggregator asks for secure sums, and its class does not say so, so no protocol was prepared: state "
                "marks_sums = True in it, or use aggregator=secure."
            )
        self.num_traces = 0
        self._tracing = threading.Lock()  # several threads may call `next`
        self._rounds: dict[bool, Any] = {}  # key: whether the cohort has blocks of several clients
        self._round(False)

    def next(self, state: State, round_input: RoundInput) -> tuple[State, dict[str, Any]]:
        *arrays, kept = constants(round_input)
        new_state, metrics = self._round(len(round_input.clients) > MOST_BLOCKS)(state, *arrays, kept)
        return new_state, self._named(metrics)

    def _round(self, in_blocks: bool) -> Any:
        """Returns the graph of a round, traced on first use.

        Up to `MOST_BLOCKS` clients are each their own block; merging these equals accumulating one client after the other, which
        needs one loop instead of two.
        """
        with self._tracing:
            if in_blocks not in self._rounds:
                started = time.perf_counter()
                self._rounds[in_blocks] = self._trace(in_blocks)
                self.seconds["tracing"] = self.seconds.get("tracing", 0.0) + time.perf_counter() - started
            return self._rounds[in_blocks]

    def _trace(self, in_blocks: bool) -> Any:
        return tf.function(
            functools.partial(self._traced_round, in_blocks),
            autograph=False,
            input_signature=[
                lowering.tensor_specs(self._lowered.state_type),
                tf.TensorSpec([None], tf.int32),
                tf.TensorSpec([None], tf.int32),
                tf.TensorSpec([None, None], tf.int32),
                tf.TensorSpec([None, 2], tf.int64),
                tf.TensorSpec([2], tf.int64),
                [tf.TensorSpec([None, *s.shape], s.dtype) for s in self._given_specs()],
            ],
        ).get_concrete_function()  # because tf.function warns at every trace after the fifth, also of another engine's

    def _traced_round(self, in_blocks, state, indices, row_splits, order, keys, server_key, kept):
        self.num_traces += 1
        process, count = self._lowered, tf.size(row_splits) - 1
        first, while_, after = (moment(server_key, number) for number in (BEFORE, WHILE, AFTER))
        message = process.prepare(*state, key=first)

        def contribution(k):
            begin, end = row_splits[k], row_splits[k + 1]
            return self._contribution(message, [old[k] for old in kept], indices[begin:end], order[:, begin:end], keys[k])

        if in_blocks:
            total, rows = self._merged(count, contribution, while_, self._parallel)
        else:
            total, rows = self._accumulated(tf.constant(0), count, contribution, while_, self._parallel)
        total = process.together(rows, total)
        result = process.update(*state, *process.report(*total, key=after), key=moment(after, 1))
        num_state = len(self.state_names)
        return list(result[:num_state]), list(result[num_state:])
