"""Aggregation rules that compare individual client updates: median, trimmed mean, Krum.

TFF gives the server sums, not a list of updates. Here the accumulator is the list: a matrix that grows by one row per client.
So these rules are ordinary TFF aggregation processes, which run on every engine; and their type shows that the server sees
every update, so they cannot be combined with secure sums. Memory: clients × weights × 4 bytes, up to four times that while the
matrix grows; a rule adds little, because it computes `COLUMNS` columns at a time.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

COLUMNS = 4096  # columns that a rule computes at a time
RECENT = 32  # rows that are collected before the matrix grows

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

        rows_type = tff.TensorType(np.float32, [None, sum(sizes)])  # the number of rows is not known in advance
        stack_type = tff.to_type((rows_type, rows_type))  # the first rows, and the most recent ones

        @tff.tensorflow.computation
        def zero():
            return tf.zeros([0, sum(sizes)]), tf.zeros([0, sum(sizes)])

        @tff.tensorflow.computation(stack_type, tff.to_type((value_type, weight_type)))
        def accumulate(stack, value):
            update, weight = value
            row = tf.concat([tf.reshape(t, [-1]) for t in tf.nest.flatten(tff.structure.flatten(update))], 0)[tf.newaxis]
            return appended(stack[0], stack[1], row[: tf.cast(weight > 0, tf.int32)])

        @tff.tensorflow.computation(stack_type, stack_type)
        def merge(a, b):
            return appended(a[0], a[1], tf.concat(list(b), 0))

        @tff.tensorflow.computation(stack_type)
        def report(stack):
            rows = tf.concat(list(stack), 0)
            count = tf.shape(rows)[0]
            result = tf.cond(count > 0, lambda: rule(rows), lambda: tf.zeros([sum(sizes)]))
            result.set_shape([sum(sizes)])
            parts = [tf.reshape(p, s) for p, s in zip(tf.split(result, sizes), shapes)]
            whole = tff.structure.pack_sequence_as(value_type, parts)
            return tff.types.type_to_py_container(whole, value_type), count

        @tff.federated_computation
        def init():
            return tff.federated_value((), tff.SERVER)

        @tff.federated_computation(
            init.type_signature.result, tff.FederatedType(value_type, tff.CLIENTS), tff.FederatedType(weight_type, tff.CLIENTS)
        )
        def next_fn(state, updates, weights):
            values = tff.federated_zip((updates, weights))
            result, count = tff.federated_aggregate(values, zero(), accumulate, merge, report)
            return tff.templates.MeasuredProcessOutput(state, result, tff.federated_zip({"num_compared": count}))

        return tff.templates.AggregationProcess(init, next_fn)


def appended(stacked: tf.Tensor, recent: tf.Tensor, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the two parts of a list of rows, each float32 [·, weights], after `rows` have been added to its end.

    Rows are collected in the short part `recent`, and move to the long part `stacked` `RECENT` at a time, so the long part is
    copied once in `RECENT` clients, not once per client.
    """
    recent = tf.concat([recent, rows], 0)

    def moved() -> tuple[tf.Tensor, tf.Tensor]:
        return tf.concat([stacked, recent], 0), recent[:0]

    return tf.cond(tf.shape(recent)[0] >= RECENT, moved, lambda: (stacked, recent))


def _by_columns(stack: tf.Tensor, rule: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
    """Returns `rule`, float32 [columns, clients] → float32 [columns], of all columns of `stack`, `COLUMNS` at a time."""
    count = -(-tf.shape(stack)[1] // COLUMNS)
    parts = tf.TensorArray(tf.float32, count, element_shape=[None], infer_shape=False)

    def step(i: tf.Tensor, parts: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
        return i + 1, parts.write(i, rule(tf.transpose(stack[:, i * COLUMNS : (i + 1) * COLUMNS])))

    _, parts = tf.while_loop(lambda i, _: i < count, step, [tf.constant(0), parts])
    return parts.concat()


def coordinate_median(stack: tf.Tensor) -> tf.Tensor:
    """Returns the middle value of each column; for an even number of rows, the mean of the two middle values."""
    n = tf.shape(stack)[0]

    def middle(columns: tf.Tensor) -> tf.Tensor:
        upper = tf.raw_ops.NthElement(input=columns, n=n // 2)
        lower = tf.cond(n % 2 > 0, lambda: upper, lambda: tf.raw_ops.NthElement(input=columns, n=n // 2 - 1))
        return 0.5 * (lower + upper)

    return _by_columns(stack, middle)


def trimmed_mean(trim_fraction: float) -> Rule:
    """Returns a rule: the mean of each column without its ⌊trim_fraction · clients⌋ smallest and as many largest values."""

    def rule(stack: tf.Tensor) -> tf.Tensor:
        n = tf.shape(stack)[0]
        wanted = tf.cast(tf.math.floor(trim_fraction * tf.cast(n, tf.float32) + 1e-4), tf.int32)  # 0.1 × 10 is 1, not 0.99…
        trimmed = tf.minimum(wanted, (n - 1) // 2)

        def middle(columns: tf.Tensor) -> tf.Tensor:
            return tf.reduce_mean(tf.transpose(tf.sort(columns)[:, trimmed : n - trimmed]), 0)

        return _by_columns(stack, middle)

    return rule


def krum(num_byzantine: int, num_selected: int) -> Rule:
    """Returns a rule: averages the `num_selected` updates of lowest score, the sum of squared distances to the n − f − 2 nearest
    others."""

    def rule(stack: tf.Tensor) -> tf.Tensor:
        n = tf.shape(stack)[0]
        nearest = tf.clip_by_value(n - num_byzantine - 2, 1, tf.maximum(n - 1, 1))
        others = tf.linalg.set_diag(squared_distances(stack), tf.fill([n], np.float32(np.inf)))
        scores = tf.reduce_sum(tf.sort(others, 1)[:, :nearest], 1)
        chosen = tf.argsort(scores, stable=True)[: tf.minimum(num_selected, n)]
        return tf.reduce_mean(tf.gather(stack, chosen), 0)

    return rule


_CANCELS = 1e-4  # |a − b|² / (|a|² + |b|²) below which |a|² + |b|² − 2ab is not trusted


def squared_distances(stack: tf.Tensor) -> tf.Tensor:
    """Returns |a − b|², float32 [n, n], symmetric, of all rows a and b, with a relative error of at most 1e-7.

    They come from the Gram matrix as |a|² + |b|² − 2ab, in float64, of the rows minus one row near to most: that of the median
    norm, which fewer than half of the rows cannot move further out than the others are. With u = 2⁻⁵³ the error is at most
    2 (COLUMNS + weights / COLUMNS) u (|a|² + |b|²) (Higham 2002, section 3.1), 1e-12 of them up to 2 million weights. So it is at
    most 1e-8 of a distance that does not cancel; the pairs that do cancel are subtracted first, pair by pair.
    """
    n, width = tf.shape(stack)[0], tf.shape(stack)[1]
    count = -(-width // COLUMNS)

    def total(term: Callable[[tf.Tensor], tf.Tensor], zero: tf.Tensor) -> tf.Tensor:
        """Returns the sum of `term`, of float64 [n, columns], over all columns."""

        def step(i: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return i + 1, total + term(tf.cast(stack[:, i * COLUMNS : (i + 1) * COLUMNS], tf.float64))

        return tf.while_loop(lambda i, _: i < count, step, [tf.constant(0), zero], parallel_iterations=1)[1]

    norms = total(lambda part: tf.reduce_sum(tf.square(part), 1), tf.zeros([n], tf.float64))
    centre = tf.argsort(norms, stable=True)[n // 2]

    def products(part: tf.Tensor) -> tf.Tensor:
        part -= part[centre]
        return tf.matmul(part, part, transpose_b=True)

    gram = total(products, tf.zeros([n, n], tf.float64))
    squares = tf.linalg.diag_part(gram)
    size = squares[:, tf.newaxis] + squares
    later = tf.range(n)[:, tf.newaxis] < tf.range(n)  # one of each pair, so that both directions are equal
    found = tf.where(later, tf.maximum(size - 2.0 * gram, 0.0), 0.0)
    pairs = tf.where(later & (found < _CANCELS * size))

    def subtracted(pair: tf.Tensor) -> tf.Tensor:
        a, b = tf.cast(stack[pair[0]], tf.float64), tf.cast(stack[pair[1]], tf.float64)
        return tf.reduce_sum(tf.square(a - b))

    direct = tf.map_fn(subtracted, pairs, fn_output_signature=tf.float64)
    found = tf.tensor_scatter_nd_update(found, pairs, direct)
    return tf.cast(found + tf.transpose(found), tf.float32)
