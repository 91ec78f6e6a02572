"""Sums of a lowered graph: of two terms each, so that their bits do not depend on what runs beside them."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fedlab import lowering

TERMS = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)


def in_a_loop(terms):
    """Sums of three to six terms: at the top, in a loop's body, and those of a gradient."""
    rows = tf.unstack(terms, num=6)

    def body(i, total):
        return i + 1, tf.add_n([total, *rows[:4]])

    _, total = tf.while_loop(lambda i, _: i < 3, body, (0, tf.zeros([5])))
    with tf.GradientTape() as tape:
        tape.watch(terms)
        value = tf.reduce_sum(terms**2) + tf.reduce_sum(terms**3) + tf.reduce_sum(tf.sin(terms)) + tf.reduce_sum(total * total)
    return tf.add_n([*rows, total]), tape.gradient(value, terms)


def test_no_sum_has_more_than_two_terms_and_all_are_in_it():
    computation = tff.tensorflow.computation(in_a_loop, tff.TensorType(np.float32, [6, 5]))
    call = lowering.load(computation)
    traced = tf.function(lambda x: list(call(x)), autograph=False).get_concrete_function(tf.TensorSpec([6, 5]))
    graph = traced.graph.as_graph_def()
    nodes = [*graph.node, *(node for f in graph.library.function for node in f.node_def)]
    terms = [node.attr["N"].i for node in nodes if node.op == "AddN"]
    assert len(terms) >= 10 and max(terms) == 2
    assert any(node.op == "AddN" for f in graph.library.function for node in f.node_def)
    for found, expected in zip(traced(tf.constant(TERMS)), in_a_loop(tf.constant(TERMS))):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
