"""Fills TFF's four slots: distributor, client work, aggregator, finalizer."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fedlab.algorithms.base import Parts
from fedlab.algorithms.client_work import LocalUpdate, client_work_process


def learning_process(
    parts: Parts,
    update: LocalUpdate,
    weigh_by_examples: bool,
    finalizer: tff.learning.templates.FinalizerProcess | None = None,
) -> tff.learning.templates.LearningProcess:
    """Returns the TFF process: the server broadcasts weights, clients run `update`, the aggregate is the server's gradient.

    `finalizer`: the server's use of the aggregate; None is a step of the server optimizer.
    """
    work = client_work_process(
        parts.model, parts.examples, update, parts.client_schedule, weigh_by_examples, parts.largest_metric
    )
    return composed(parts, work, finalizer)


def composed(
    parts: Parts,
    work: tff.learning.templates.ClientWorkProcess,
    finalizer: tff.learning.templates.FinalizerProcess | None = None,
) -> tff.learning.templates.LearningProcess:
    """Like `learning_process`, with the client-work slot filled."""

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
        work,
        aggregator.create(weights_type.trainable, tff.TensorType(np.float32)),
        finalizer or tff.learning.templates.build_apply_optimizer_finalizer(parts.server_optimizer.build(), weights_type),
    )
