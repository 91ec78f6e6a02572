"""`dataset.reduce` as a loop of the graph: the same numbers, and where it stays as it is."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from fedlab.dataset_loops import replace_reduce


def graph_of(work):
    """The graph of `work` on the data set x[0], x[1], … of rows of a placeholder x [n, 2], and the name of its output."""
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, 2], name="x")
        data = tf.data.Dataset.range(tf.shape(x, tf.int64)[0]).map(lambda i: x[i])
        result = work(data, x)
    return graph.as_graph_def(), result.name


def value(graph, name, x):
    with tf.Graph().as_default() as new:
        (found,) = tf.graph_util.import_graph_def(graph, return_elements=[name], name="")
        with tf.compat.v1.Session(graph=new) as session:
            return session.run(found, {"x:0": x})


def num_reduced(graph):
    return sum(
        node.op == "ReduceDataset" for body in (graph.node, *(f.node_def for f in graph.library.function)) for node in body
    )


@tf.function
def decayed(data, weight):
    """A state of two tensors, an argument that the loop reads, and a second loop over the same data set."""
    total, count = data.reduce((tf.zeros([2]), 0), lambda state, row: (0.5 * state[0] + weight * row, state[1] + 1))
    largest = data.reduce(tf.zeros([2]), lambda most, row: tf.maximum(most, row))
    return tf.concat([total, largest, [tf.cast(count, tf.float32)]], 0)


@tf.function
def nested(data, weight):
    return 2.0 * decayed(data, weight + 1.0)


@tf.function
def of_a_part(data, weight):
    return data.take(2).reduce(tf.zeros([2]), lambda total, row: total + weight * row)


@pytest.mark.parametrize("work", [decayed, nested])
@pytest.mark.parametrize("rows", [0, 1, 5])
def test_a_loop_computes_what_the_data_set_did(work, rows):
    x = np.random.default_rng(rows).normal(size=(rows, 2)).astype(np.float32)
    graph, name = graph_of(lambda data, _: work(data, tf.constant(3.0)))
    expected = value(graph, name, x)
    assert num_reduced(graph) == 2
    replace_reduce(graph)
    assert num_reduced(graph) == 0
    assert np.array_equal(value(graph, name, x), expected)


def test_other_data_sets_stay_as_they_are():
    x = np.ones((5, 2), np.float32)
    graph, name = graph_of(lambda data, _: of_a_part(data, tf.constant(3.0)))
    replace_reduce(graph)
    assert num_reduced(graph) == 1 and value(graph, name, x).tolist() == [6.0, 6.0]
    once, name = graph_of(lambda data, _: decayed(data.shuffle(1), tf.constant(3.0)))
    replace_reduce(once)
    assert num_reduced(once) == 2


def test_two_calls_of_one_function_stay_as_they_are():
    """One of them may have another data set."""
    graph, name = graph_of(lambda data, _: decayed(data, tf.constant(3.0)) + decayed(data.skip(1), tf.constant(1.0)))
    before = value(graph, name, np.ones((3, 2), np.float32))
    replace_reduce(graph)
    assert np.array_equal(value(graph, name, np.ones((3, 2), np.float32)), before)
