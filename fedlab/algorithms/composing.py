"""Fills TFF's four slots: distributor, client work, aggregator, finalizer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fedlab.algorithms.base import Parts
from fedlab.algorithms.client_work import LocalUpdate, client_work_process, constrained
from fedlab.models.functional import TaskModel
from fedlab.models.training import picked, placed

# (the aggregate of all tensors that clients send) → the update of the trained weights (`TaskModel.trained`)
Combine = Callable[[tuple], Sequence]


def learning_process(
    parts: Parts,
    update: LocalUpdate,
    weigh_by_examples: bool,
    finalizer: tff.learning.templates.FinalizerProcess | None = None,
    combine: Combine | None = None,
) -> tff.learning.templates.LearningProcess:
    """Returns the TFF process: the server broadcasts weights, clients run `update`, the aggregate is the server's gradient.

    `finalizer`: the server's use of the aggregate; None is a step of the server optimizer. `combine`: for clients that send more
    tensors than the update of the trained weights.
    """
    work = client_work_process(
        parts.model, parts.examples, update, parts.client_schedule, weigh_by_examples, parts.largest_metric
    )
    return composed(parts, work, finalizer, combine)


def composed(
    parts: Parts,
    work: tff.learning.templates.ClientWorkProcess,
    finalizer: tff.learning.templates.FinalizerProcess | None = None,
    combine: Combine | None = None,
    distributor: tff.learning.templates.DistributionProcess | None = None,
) -> tff.learning.templates.LearningProcess:
    """Like `learning_process`, with the client-work slot filled. `distributor`: sends the model; None broadcasts it."""

    @tff.tensorflow.computation
    def initial_weights():
        return tff.learning.models.ModelWeights(
            *[tuple(tf.convert_to_tensor(w) for w in ws) for ws in parts.model.initial_weights]
        )

    weights_type, aggregator = initial_weights.type_signature.result, weighted(parts.aggregator)
    finalizer = finalizer or tff.learning.templates.build_apply_optimizer_finalizer(parts.server_optimizer.build(), weights_type)
    update_type = work.next.type_signature.result.result.member.update
    if combine or parts.model.statistics or parts.model.constraints:
        finalizer = _generalised(finalizer, parts.model, update_type, combine or (lambda update: update))
    return tff.learning.templates.compose_learning_process(
        initial_weights,
        distributor or tff.learning.templates.build_broadcast_process(weights_type),
        work,
        aggregator.create(update_type, tff.TensorType(np.float32)),
        finalizer,
    )


def weighted(
    aggregator: tff.aggregators.WeightedAggregationFactory | tff.aggregators.UnweightedAggregationFactory,
) -> tff.aggregators.WeightedAggregationFactory:
    """Returns a factory that takes weights; one that has none ignores them."""
    if isinstance(aggregator, tff.aggregators.UnweightedAggregationFactory):
        return tff.aggregators.as_weighted_aggregator(aggregator)
    return aggregator


def _generalised(
    finalizer: tff.learning.templates.FinalizerProcess, model: TaskModel, update_type: tff.Type, combine: Combine
) -> tff.learning.templates.FinalizerProcess:
    """Returns a finalizer that gives `finalizer` the update of the trainable weights, and subtracts that of the statistics.

    So an optimizer of the server never changes batch statistics: they are those of the clients, averaged like weights. The
    model's constraints are applied after the step.
    """
    weights_type = finalizer.next.type_signature.parameter[1].member
    count = len(weights_type.trainable)

    @tff.tensorflow.computation(update_type)
    def combined(update):
        return tuple(combine(tuple(update)))

    trained_type = combined.type_signature.result

    @tff.tensorflow.computation(trained_type)
    def of_trainable(update):
        return tuple(update)[:count]

    @tff.tensorflow.computation(weights_type, weights_type, trained_type)
    def with_statistics(stepped, before, update):
        positions, non_trainable = model.statistics, tuple(before.non_trainable)
        statistics = [s - d for s, d in zip(picked(positions, non_trainable), tuple(update)[count:])]
        trainable = constrained(model, tuple(stepped.trainable))
        return tff.learning.models.ModelWeights(trainable, placed(positions, non_trainable, statistics))

    @tff.federated_computation(
        finalizer.initialize.type_signature.result,
        tff.FederatedType(weights_type, tff.SERVER),
        tff.FederatedType(update_type, tff.SERVER),
    )
    def next_fn(state, weights, update):
        update = tff.federated_map(combined, update)
        stepped = finalizer.next(state, weights, tff.federated_map(of_trainable, update))
        result = tff.federated_map(with_statistics, (stepped.result, weights, update))
        return tff.templates.MeasuredProcessOutput(stepped.state, result, stepped.measurements)

    return tff.learning.templates.FinalizerProcess(finalizer.initialize, next_fn)
