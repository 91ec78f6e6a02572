"""Aggregators on their own, executed by the compiled engine.

Each client's one example is its update: 123 floats, a tensor [3, 40] and a tensor [3]. Its visiting order, a single number, is
its weight.
"""

from __future__ import annotations

import collections

import numpy as np
import pytest

SHAPES = {"a": (3, 40), "b": (3,)}
SIZE = 123


class Bench:
    """An aggregator over a bank of updates [N, 123], from which each call takes some rows."""

    def __init__(self, aggregator, bank, engine=None):
        import tensorflow as tf
        import tensorflow_federated as tff

        from fedlab.algorithms.client_work import ExampleSpec
        from fedlab.engine import Compiled
        from fedlab.types import ExampleSet

        self.bank = np.asarray(bank, np.float32)
        element = ExampleSpec((SIZE,), np.dtype(np.float32)).element
        value_type = tff.types.tensorflow_to_type([tf.TensorSpec(shape, tf.float32) for shape in SHAPES.values()])
        process = aggregator.build().create(value_type, tff.TensorType(np.float32))

        @tff.tensorflow.computation(tff.SequenceType(tff.types.tensorflow_to_type(element)))
        def read(data):
            client = data.get_single_element()
            cut = tf.split(client["x"][0], [120, 3])
            value = [tf.reshape(part, shape) for part, shape in zip(cut, SHAPES.values())]
            return value, tf.cast(client["order"][0, 0], tf.float32)

        @tff.federated_computation(
            process.initialize.type_signature.result, tff.FederatedType(read.type_signature.parameter, tff.CLIENTS)
        )
        def next_fn(state, data):
            value, weight = tff.federated_map(read, data)
            output = process.next(state, value, weight)
            found = tff.federated_zip(collections.OrderedDict(result=output.result, measured=output.measurements))
            return tff.learning.templates.LearningProcessOutput(output.state, found)

        iterative = tff.templates.IterativeProcess(process.initialize, next_fn)
        labels = np.zeros(len(self.bank), np.int32)
        self._engine = (engine or Compiled()).build(iterative, ExampleSet(self.bank, labels, 1))
        self.state = None

    def __call__(self, rows, weights=None, keys=None, state=None):
        """The aggregate [123] of the bank's `rows`. Leaves the next state in `state`, and what was measured in `measured`."""
        round_input = self._round_input(rows, weights, keys)
        state = self._engine.initialize(np.array([0, 0])) if state is None else state
        self.state, output = self._engine.next(state, round_input)
        self.measured = {name: value for name, value in output.items() if not name.startswith("result")}
        return self._result(output)

    def computed_apart(self, rows, weights, seed):
        """(the aggregate, the next state), each block computed by a call of its own, in an order that `seed` decides."""
        import tensorflow as tf

        from fedlab.engine import block_size
        from fedlab.engine.lowered import AFTER, BEFORE, WHILE, constants, moment

        engine, process = self._engine, self._engine._lowered
        given = self._round_input(rows, weights, None)
        indices, splits, order, keys, server_key, _ = constants(given)

        def block(message, first, stop):
            def contribution(k):
                begin, end = splits[k], splits[k + 1]
                return engine._contribution(message, [], indices[begin:end], order[:, begin:end], keys[k])

            return engine._accumulated(first, stop, contribution, moment(server_key, WHILE), 1)[0]

        def graph(function, *args):
            return tf.function(function, autograph=False)(*args)

        state = engine.initialize(np.array([0, 0]))
        message = graph(lambda: list(process.prepare(*state, key=moment(server_key, BEFORE))))
        size, traced = block_size(len(rows)), tf.function(block, autograph=False, reduce_retracing=True)
        bounds = [(a, min(a + size, len(rows))) for a in range(0, len(rows), size)]
        sums = {b: traced(message, *map(tf.constant, bounds[b])) for b in np.random.default_rng(seed).permutation(len(bounds))}
        total = graph(lambda: list(process.zero(key=moment(server_key, WHILE))))
        merge = tf.function(lambda a, b: list(process.merge(*a, *b, key=server_key)), autograph=False, reduce_retracing=True)
        for b in range(len(bounds)):
            total = merge(total, sums[b])

        def finish():
            after = moment(server_key, AFTER)
            return list(process.update(*state, *process.report(*total, key=after), key=moment(after, 1)))

        done = graph(finish)
        count = len(engine.state_names)
        return self._result(engine._named(done[count:])), done[:count]

    def close(self):
        self._engine.close()

    @staticmethod
    def _round_input(rows, weights, keys):
        from fedlab.engine import RoundInput

        n = len(rows)
        return RoundInput(
            round=1,
            clients=np.arange(n),
            indices=np.array(rows, np.int32),
            row_splits=np.arange(n + 1, dtype=np.int32),
            order=np.array([np.ones(n) if weights is None else weights], np.int32),
            keys=np.array([[k, 5] for k in (range(n) if keys is None else keys)], np.int64),
            server_key=np.array([3, 3]),
        )

    @staticmethod
    def _result(output):
        return np.concatenate([output[f"result/{i}"].ravel() for i in range(len(SHAPES))])


@pytest.fixture(scope="module")
def bench(tensorflow):
    """(aggregator, bank, engine) → Bench."""
    return Bench
