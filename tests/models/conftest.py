"""Evaluates a functional model the way a process does, inside a TFF computation."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture
def logits_of(tensorflow):
    """(functional model, weights, x, training, key) → logits."""
    import tensorflow_federated as tff

    from fedlab import lowering

    def logits(model, weights, x, training=False, key=(0, 0)):
        # As inputs, not as constants: TensorFlow would compute with those when it builds the graph, by other kernels
        types = tensorflow.nest.map_structure(lambda a: tff.TensorType(a.dtype, a.shape), (weights, x))
        computation = tff.tensorflow.computation(lambda w, x: model.predict_on_batch(w, x, training=training), types)
        call = lowering.load(computation)
        graph = tensorflow.function(lambda key, *inputs: call(*inputs, key=key)[0], autograph=False)
        inputs = [tensorflow.constant(a) for a in (*tensorflow.nest.flatten(weights), x)]
        return graph(tensorflow.constant(np.array(key, np.int64)), *inputs).numpy()

    return logits
