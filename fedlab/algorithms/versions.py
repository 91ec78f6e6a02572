"""Training from earlier versions of the model, as an ordinary TFF process.

The server remembers the last versions, stacked. A client's data element contains its staleness, an index: it selects the version
that the client received when it started. TFF sends all versions to every client; a real server has sent one of them, and this is
what is counted.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fedlab.algorithms.base import Parts, Setting
from fedlab.algorithms.client_work import counted, finalizing, sent_by_client, weights_type_of
from fedlab.algorithms.composing import composed
from fedlab.algorithms.trainer import Outcome, ProcessTrainer
from fedlab.engine import RoundInput
from fedlab.models.functional import weight_specs
from fedlab.types import Cohort

_LARGE = 1e9  # bytes of remembered versions from which on the user is informed

# (trainable, non_trainable, data, learning-rate factor, staleness: int32) → (update, metrics), as a `client_work.LocalUpdate`
StaleUpdate = Callable[..., tuple]


class VersionsTrainer(ProcessTrainer):
    """Passes each client of a cohort its staleness. State: the process's, with the earlier versions of the model."""

    def __init__(self, update: StaleUpdate, weigh_by_examples: bool, parts: Parts, setting: Setting):
        work = _work(parts, update, weigh_by_examples)
        super().__init__(composed(parts, work, distributor=_distributor(parts)), parts, setting)
        self._size = sum(np.asarray(w).nbytes for ws in parts.model.initial_weights for w in ws)
        self._bytes_down -= parts.max_staleness * self._size

    def lines(self) -> list[str]:
        size = self._parts.max_staleness * self._size
        text = f"the server remembers {self._parts.max_staleness:,} versions of the model: {size / 1e9:.1f} GB"
        return [f"{text} of memory and of each checkpoint (cohort.max_staleness)"] if size >= _LARGE else []

    def _empty(self) -> RoundInput:
        return dataclasses.replace(super()._empty(), kept=(np.zeros(0, np.int32),))

    def next(self, cohort: Cohort, given: RoundInput) -> Outcome:
        staleness = np.zeros(len(cohort.clients)) if cohort.staleness is None else cohort.staleness
        outcome = super().next(cohort, dataclasses.replace(given, kept=(staleness.astype(np.int32),)))
        found = {"staleness_mean": float(staleness.mean()), "staleness_max": int(staleness.max())} if len(staleness) else {}
        metrics = {**outcome.metrics, **found, "num_too_stale": cohort.num_too_stale}
        return dataclasses.replace(outcome, metrics=metrics)


def _stacked(parts: Parts, count: int) -> tff.learning.models.ModelWeights:
    """Returns the specs of `count` versions of a model's weights: each tensor has a row per version."""
    specs = [tuple(tf.TensorSpec([count, *s.shape], s.dtype) for s in ws) for ws in weight_specs(parts.model)]
    return tff.learning.models.ModelWeights(*specs)


def _each(function: Callable[..., Any], *weights: Any) -> tff.learning.models.ModelWeights:
    """Applies `function` to each tensor of a model, or to those at the same place of several models."""
    pairs = [(tuple(w.trainable), tuple(w.non_trainable)) for w in weights]
    return tff.learning.models.ModelWeights(*(tuple(map(function, *tensors)) for tensors in zip(*pairs)))


def _distributor(parts: Parts) -> tff.learning.templates.DistributionProcess:
    """Returns the slot that sends all remembered versions, the newest first.

    Its state: the earlier versions. Rows without a version are zeros, which no client selects.
    """
    most, weights_type = parts.max_staleness, weights_type_of(parts.model)
    earlier, versions = _stacked(parts, most), tff.types.tensorflow_to_type(_stacked(parts, most + 1))

    @tff.tensorflow.computation
    def no_versions():
        return _each(lambda s: tf.zeros(s.shape, s.dtype), earlier)

    @tff.tensorflow.computation(weights_type, no_versions.type_signature.result)
    def all_versions(weights, earlier):
        return _each(lambda newest, others: tf.concat([newest[tf.newaxis], others], 0), weights, earlier)

    @tff.tensorflow.computation(versions)
    def remembered(versions):
        return _each(lambda v: v[:most], versions)

    @tff.federated_computation
    def init():
        return tff.federated_eval(no_versions, tff.SERVER)

    @tff.federated_computation(init.type_signature.result, tff.FederatedType(weights_type, tff.SERVER))
    def next_fn(earlier, weights):
        versions = tff.federated_map(all_versions, (weights, earlier))
        return tff.templates.MeasuredProcessOutput(
            tff.federated_map(remembered, versions), tff.federated_broadcast(versions), tff.federated_value((), tff.SERVER)
        )

    return tff.learning.templates.DistributionProcess(init, next_fn)


def _work(parts: Parts, update: StaleUpdate, weigh_by_examples: bool) -> tff.learning.templates.ClientWorkProcess:
    """Returns the client-work slot. Its state is the round's number (int32, 1 for the first), as in `client_work_process`."""
    versions_type = tff.types.tensorflow_to_type(_stacked(parts, parts.max_staleness + 1))
    element = collections.OrderedDict(kept=(tf.TensorSpec([], tf.int32),), **parts.examples.element)
    data_type = tff.SequenceType(tff.types.tensorflow_to_type(element))

    @tf.function(autograph=False)
    def train(versions, data, round_num):
        [staleness] = data["kept"]
        received = _each(lambda v: v[staleness], versions)
        # The learning rate is that of the round whose model the client received
        factor = tf.cast(parts.client_schedule.factor(tf.cast(round_num - staleness, tf.float32)), tf.float32)
        delta, metrics = update(received.trainable, received.non_trainable, data, factor, staleness)
        result, metrics, _ = sent_by_client(delta, metrics, data, weigh_by_examples, parts.largest_metric)
        return result, metrics

    @tff.tensorflow.computation(versions_type, data_type, np.int32)
    def client_update(versions, data, round_num):
        return train(versions, data.get_single_element(), round_num)

    _, next_round = counted(parts.client_schedule)
    finalize = finalizing(parts.model, client_update.type_signature.result[1])

    @tff.federated_computation
    def init():
        return tff.federated_value(np.int32(1), tff.SERVER)

    @tff.federated_computation(
        init.type_signature.result, tff.FederatedType(versions_type, tff.CLIENTS), tff.FederatedType(data_type, tff.CLIENTS)
    )
    def next_fn(round_num, versions, data):
        result, metrics = tff.federated_map(client_update, (versions, data, tff.federated_broadcast(round_num)))
        return tff.templates.MeasuredProcessOutput(
            tff.federated_map(next_round, round_num), result, tff.federated_map(finalize, tff.federated_sum(metrics))
        )

    return tff.learning.templates.ClientWorkProcess(init, next_fn)
