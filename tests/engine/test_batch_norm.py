"""Fused batch normalization of a lowered graph: the same numbers, by a kernel that calls at the same time do not share."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from fedlab import lowering
from fedlab.lowering import LoweringError


def _normalized(x, data_format, training):
    c = x.shape[1 if data_format == "NCHW" else 3]
    given = {} if training else {"mean": tf.linspace(0.1, 0.4, c), "variance": tf.linspace(0.5, 2.0, c)}
    scale, offset = tf.linspace(0.5, 1.5, c), tf.linspace(-1.0, 1.0, c)
    return tf.compat.v1.nn.fused_batch_norm(x, scale, offset, data_format=data_format, is_training=training, **given)


def _with_gradient(x, data_format, training):
    with tf.GradientTape() as tape:
        tape.watch(x)
        y, mean, variance = _normalized(x, data_format, training)
        value = tf.reduce_sum(y**3) + tf.reduce_sum(mean) + tf.reduce_sum(variance)
    return y, mean, variance, tape.gradient(value, x)


def _graph_of(computation):
    call = lowering.load(computation)
    traced = tf.function(lambda x: list(call(x)), autograph=False).get_concrete_function(tf.TensorSpec([2, 3, 4, 5]))
    graph = traced.graph.as_graph_def()
    return traced, [*graph.node, *(node for f in graph.library.function for node in f.node_def)]


@pytest.mark.parametrize("place", ["top", "function", "branch"])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("data_format", ["NHWC", "NCHW"])
def test_the_same_numbers_from_five_dimensions(data_format, training, place):
    def compute(x):
        return _with_gradient(x, data_format, training)

    function = tf.function(compute, autograph=False)
    at = {
        "top": compute,
        "function": function,
        "branch": lambda x: tf.cond(x[0, 0, 0, 0] < 9.0, lambda: function(x), lambda: function(-x)),
    }
    traced, nodes = _graph_of(tff.tensorflow.computation(at[place], tff.TensorType(np.float32, [2, 3, 4, 5])))
    x = tf.constant(np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32))
    for found, expected in zip(traced(x), compute(x), strict=True):
        np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-5)
    fused = [node for node in nodes if "BatchNorm" in node.op]
    assert {node.op for node in fused} == {"FusedBatchNormV3", "FusedBatchNormGradV3"}
    assert all(len(node.attr["data_format"].s) == 5 for node in fused)


def test_older_versions_of_the_op_are_refused():
    def compute(x):
        return tf.raw_ops.FusedBatchNormV2(x=x, scale=[1.0], offset=[0.0], mean=[], variance=[]).y

    with pytest.raises(LoweringError, match="FusedBatchNormV2, which may corrupt memory: use"):
        lowering.load(tff.tensorflow.computation(compute, tff.TensorType(np.float32, [2, 3, 4, 1])))
