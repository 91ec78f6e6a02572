"""Client optimizers whose state stays on the client from round to round."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from fedlab.algorithms.base import Parts
from fedlab.algorithms.client_work import continued_training
from fedlab.algorithms.keeping import Keeping
from fedlab.algorithms.steps import steps_of


def keeping(parts: Parts) -> Keeping:
    """Returns the client step of FedAvg that begins with the state at which the client's optimizer was after its last round.

    A client keeps the moments, and the number of its steps as a float, which is exact up to 2^24.
    """
    optimizer = parts.client_optimizer.build()
    train = continued_training(parts.model, optimizer, parts.client)
    new, _ = steps_of(optimizer, optimizer.initialize(parts.model.specs[0]))
    like = [np.asarray(t) for t in tf.nest.flatten(new)]

    def update(received: Any, fixed: Any, data: Any, factor: Any, kept: Any, _: Any) -> tuple:
        state = tf.nest.pack_sequence_as(new, [tf.cast(k, a.dtype) for k, a in zip(kept, like)])
        delta, metrics, state = train(received, fixed, data, factor, state)
        return delta, metrics, tuple(tf.cast(t, tf.float32) for t in tf.nest.flatten(state)), ()

    return Keeping(tuple(like), update)
