"""Aggregation rules that compare individual client updates: median, trimmed mean, Krum.

TFF gives the server sums, not a list of updates. Here the accumulator is the list: a matrix that grows by one row per client.
So these rules are ordinary TFF aggregation processes, which run on every engine; and their type shows that the server sees
every update, so they cannot be combined with secure sums. Memory: clients × weights × 4 bytes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

Rule = Callable[[tf.Tensor], tf.Tensor]  # float32 [clients, weights] → float32 [weights]; called with at least one client


class StackedFactory(tff.aggregators.WeightedAggregationFactory):
    """Stacks the updates of all clients of non-zero weight into one matrix and applies `rule` to it. Without such clients the
    result is zero. Weights have no other effect."""

    def __init__(self, rule: Rule):
        self._rule = rule

    def create(self, value_type: tff.Type, weight_type: tff.Type) -> tff.templates.AggregationProcess:
        """Returns a stateless process over a structure of float32 tensors; it measures the number of compared updates."""
        shapes = [t.shape for t in tff.structure.flatten(value_type)]
        sizes = [int(np.prod(s)) for s in shapes]
        rule = self._rule

        @tff.tensorflow.computation
        def zero():
            return tf.zeros([0, sum(sizes)])

        # The number of rows is not known in advance
        stack_type = tff.TensorType(np.float32, [None, sum(sizes)])

        @tff.tensorflow.computation(stack_type, value_type, weight_type)
        def accumulate(stack, update, weight):
            row = tf.concat([tf.reshape(t, [-1]) for t in tf.nest.flatten(tff.structure.flatten(update))], 0)[tf.newaxis]
            return tf.concat([stack, row[: tf.cast(weight > 0, tf.int32)]], 0)

        @tff.tensorflow.computation(stack_type, stack_type)
        def merge(a, b):
            return tf.concat([a, b], 0)

        @tff.tensorflow.computation(stack_type)
        def report(stack):
            result = tf.cond(tf.shape(stack)[0] > 0, lambda: rule(stack), lambda: tf.zeros([sum(sizes)]))
            result.set_shape([sum(sizes)])
            parts = [tf.reshape(p, s) for p, s in zip(tf.split(result, sizes), shapes)]
            whole = tff.structure.pack_sequence_as(value_type, parts)
            return tff.types.type_to_py_container(whole, value_type), tf.shape(stack)[0]

        @tff.federated_computation
        def init():
            return tff.federated_value((), tff.SERVER)

        @tff.federated_computation(
            init.type_signature.result, tff.FederatedType(value_type, tff.CLIENTS), tff.FederatedType(weight_type, tff.CLIENTS)
        )
        def next_fn(state, updates, weights):
            values = tff.federated_zip((updates, weights))

            @tff.tensorflow.computation(stack_type, values.type_signature.member)
            def accumulate_pair(stack, value):
                return accumulate(stack, value[0], value[1])

            result, count = tff.federated_aggregate(values, zero(), accumulate_pair, merge, report)
            return tff.templates.MeasuredProcessOutput(state, result, tff.federated_zip({"num_compared": count}))

        return tff.templates.AggregationProcess(init, next_fn)


def coordinate_median(stack: tf.Tensor) -> tf.Tensor:
    """Returns the middle value of each column; for an even number of rows, the mean of the two middle values."""
    ordered = tf.sort(stack, 0)
    n = tf.shape(stack)[0]
    return 0.5 * (ordered[(n - 1) // 2] + ordered[n // 2])


def trimmed_mean(trim_fraction: float) -> Rule:
    """Returns a rule: the mean of each column without its ⌊trim_fraction · clients⌋ smallest and as many largest values."""

    def rule(stack: tf.Tensor) -> tf.Tensor:
        n = tf.shape(stack)[0]
        wanted = tf.cast(tf.math.floor(trim_fraction * tf.cast(n, tf.float32) + 1e-4), tf.int32)  # 0.1 × 10 is 1, not 0.99…
        trimmed = tf.minimum(wanted, (n - 1) // 2)
        return tf.reduce_mean(tf.sort(stack, 0)[trimmed : n - trimmed], 0)

    return rule


def krum(num_byzantine: int, num_selected: int) -> Rule:
    """Returns a rule: averages the `num_selected` updates of lowest score, the sum of squared distances to the n − f − 2 nearest
    others."""

    def rule(stack: tf.Tensor) -> tf.Tensor:
        n = tf.shape(stack)[0]
        # Row by row, not by the Gram matrix: |a|² + |b|² − 2ab loses the distance of near-equal updates to rounding
        distances = tf.map_fn(lambda row: tf.reduce_sum(tf.square(stack - row), 1), stack)
        nearest = tf.clip_by_value(n - num_byzantine - 2, 1, tf.maximum(n - 1, 1))
        others = tf.linalg.set_diag(distances, tf.fill([n], np.float32(np.inf)))
        scores = tf.reduce_sum(tf.sort(others, 1)[:, :nearest], 1)
        chosen = tf.argsort(scores, stable=True)[: tf.minimum(num_selected, n)]
        return tf.reduce_mean(tf.gather(stack, chosen), 0)

    return rule
