"""No op that draws without a key slips through."""

from __future__ import annotations

import pytest
from tensorflow.core.framework import graph_pb2, op_def_pb2
from tensorflow.python.client import pywrap_tf_session

from fedlab.stateless import _STATELESS, UnsupportedRandomOp, make_stateless


def ops_that_draw():
    """TensorFlow's stateful ops with a seed or a generator, by name."""
    registered = op_def_pb2.OpList.FromString(pywrap_tf_session.TF_GetBuffer(pywrap_tf_session.TF_GetAllOpList()))
    seeded = {op.name for op in registered.op if op.is_stateful and any(attr.name == "seed" for attr in op.attr)}
    # Not draws of their own: a queue's order, and an RNN whose seed is that of a dropout it is never given
    seeded = {name for name in seeded if not name.startswith(("RandomShuffleQueue", "CudnnRNN"))}
    from_a_generator = {
        op.name for op in registered.op if op.name.startswith("Stateful") and op.name != "StatefulPartitionedCall"
    }
    return seeded | from_a_generator | {"NonDeterministicInts", "RngReadAndSkip"}


@pytest.mark.parametrize("op", sorted(ops_that_draw() - set(_STATELESS)))
def test_an_op_that_draws_is_rewritten_or_refused(op):
    """One that is neither would draw different numbers in every run, and nobody would know."""
    graph = graph_pb2.GraphDef()
    graph.node.add(name="draw", op=op)
    with pytest.raises(UnsupportedRandomOp, match=op):
        make_stateless(graph)
