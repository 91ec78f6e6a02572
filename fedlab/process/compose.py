"""Fills TFF's four slots: distributor, client work, aggregator, finalizer."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fedlab.process import Ingredients
from fedlab.process.client_work import LocalUpdate, client_work_process


def learning_process(
    parts: Ingredients,
    update: LocalUpdate,
    weigh_by_examples: bool,
    finalizer: tff.learning.templates.FinalizerProcess | None = None,
) -> tff.learning.templates.LearningProcess:
    """The TFF process: weights are broadcast, `update` runs on every client, the aggregate is the server's gradient.

    `finalizer`: what the server does with it; None is a step of the server optimizer.
    """

    @tff.tensorflow.computation
    def initial_weights():
        return tff.learning.models.ModelWeights(
            *[tuple(tf.convert_to_tensor(w) for w in ws) for ws in parts.model.initial_weights]
        )

    weights_type, aggregator = initial_weights.type_signature.result, parts.aggregator
    if isinstance(aggregator, tff.aggregators.UnweightedAggregationFactory):
        aggregator = tff.aggregators.as_weighted_aggregator(aggregator)
    return tff.learning.templates.compose_learning_process(
        initial_weights,
        tff.learning.templates.build_broadcast_process(weights_type),
        client_work_process(parts.model, parts.examples, update, parts.client_schedule, weigh_by_examples, parts.largest_metric),
        aggregator.create(weights_type.trainable, tff.TensorType(np.float32)),
        finalizer or tff.learning.templates.build_apply_optimizer_finalizer(parts.server_optimizer.build(), weights_type),
    )
