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
        computation = tff.tensorflow.computation(
            lambda: model.predict_on_batch(weights, tensorflow.constant(x), training=training)
        )
        call = lowering.load(computation)
        graph = tensorflow.function(lambda key: call(key=key)[0], autograph=False)
        return graph(tensorflow.constant(np.array(key, np.int64))).numpy()

    return logits
