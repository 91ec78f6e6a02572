"""The mechanisms as TFF aggregation factories, built from tensorflow-privacy's queries. Only this module imports the latter.

All divide by a constant, however many clients report: under Poisson sampling that number is private. All scale updates first so
that clipping is safe (`bounded`): an update whose norm overflows would turn the sum into NaN, and the server would drop the sum
together with its noise.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff
import tensorflow_privacy as tfp

from fedlab.privacy import LARGEST_NORM, LEAST_NORM
from fedlab.privacy.bounding import bounded

_Dp = tff.aggregators.DifferentiallyPrivateFactory


def gaussian_fixed(noise_multiplier: float, divisor: float, clip_norm: float) -> tff.aggregators.UnweightedAggregationFactory:
    """Returns a factory that adds noise of `noise_multiplier · clip_norm` to the sum."""
    return _Bounded(
        _Dp.gaussian_fixed(noise_multiplier=float(noise_multiplier), clients_per_round=float(divisor), clip=float(clip_norm))
    )


def gaussian_adaptive(
    noise_multiplier: float,
    divisor: float,
    initial_clip_norm: float,
    target_quantile: float,
    clip_learning_rate: float,
    clipped_count_stddev: float,
) -> tff.aggregators.UnweightedAggregationFactory:
    """Returns the same with an adaptive clip norm. The noise is divided between the sum and the count of unclipped updates, as in
    `fedlab.privacy.GaussianAdaptive`."""
    of_the_sum = (noise_multiplier**-2 - (2 * clipped_count_stddev) ** -2) ** -0.5 if noise_multiplier else 0.0
    query = _AdaptiveSum(
        initial_l2_norm_clip=float(initial_clip_norm),
        noise_multiplier=of_the_sum,
        target_unclipped_quantile=float(target_quantile),
        learning_rate=float(clip_learning_rate),
        clipped_count_stddev=float(clipped_count_stddev),
        expected_num_records=float(divisor),
    )
    return _Bounded(_Dp(tfp.NormalizedQuery(query, denominator=float(divisor))))


def tree(
    noise_multiplier: float, divisor: float, clip_norm: float, restart_every: int | None, noise_key: np.ndarray
) -> tff.aggregators.UnweightedAggregationFactory:
    """Returns a factory that adds noise of `noise_multiplier · clip_norm` to each node of the tree. The noise depends on
    `noise_key`, int64 [2], and a counter in the state, so it is the same on every engine."""
    return _Bounded(_TreeFactory(noise_multiplier * clip_norm, divisor, clip_norm, restart_every, noise_key))


class _Bounded(tff.aggregators.UnweightedAggregationFactory):
    """Wraps `mechanism` so that it only gets updates that it can clip, whatever clients send."""

    def __init__(self, mechanism: tff.aggregators.UnweightedAggregationFactory):
        self._mechanism = mechanism

    def create(self, value_type: tff.Type) -> tff.templates.AggregationProcess:
        process = self._mechanism.create(value_type)

        @tff.tensorflow.computation(value_type)
        def on_the_client(update: Any) -> Any:
            return tff.structure.pack_sequence_as(value_type, bounded(tff.structure.flatten(update)))

        @tff.federated_computation(process.initialize.type_signature.result, tff.FederatedType(value_type, tff.CLIENTS))
        def next_fn(state: Any, updates: Any) -> Any:
            return process.next(state, tff.federated_map(on_the_client, updates))

        return tff.templates.AggregationProcess(process.initialize, next_fn)


class _AdaptiveSum(tfp.QuantileAdaptiveClipSumQuery):
    """tensorflow-privacy's query with a clip norm that stays within the range where clipping is safe. The norm follows the
    clients' updates: without the limits it could become infinite or zero, the sum NaN, and the server would drop the sum together
    with its noise."""

    def preprocess_record(self, params: Any, record: Any) -> Any:
        """Excludes a zero update from the count, to which it would add ½. So a user's count differs by ½, as the account
        assumes, and not by 1, from that of a user that sends zeros."""
        sent = super().preprocess_record(params, record)
        norm = tf.linalg.global_norm(tf.nest.flatten(sent.sum_state))
        return sent._replace(quantile_estimator_state=tf.where(norm > 0, sent.quantile_estimator_state, 0.0))

    def get_noised_result(self, sample_state: Any, global_state: Any) -> Any:
        noised, state, event = super().get_noised_result(sample_state, global_state)
        norm = tf.clip_by_value(state.sum_state.l2_norm_clip, LEAST_NORM, LARGEST_NORM)
        return noised, self._with_norm(state, norm), event

    def _with_norm(self, state: Any, norm: tf.Tensor) -> Any:
        return state._replace(
            sum_state=self._sum_query.make_global_state(norm, norm * state.noise_multiplier),
            quantile_estimator_state=state.quantile_estimator_state._replace(current_estimate=norm),
        )


class _TreeFactory(tff.aggregators.UnweightedAggregationFactory):
    """Builds the query once the shapes are known. TFF's own factory supports restarts only with adaptive clipping."""

    def __init__(self, stddev: float, divisor: float, clip_norm: float, restart_every: int | None, noise_key: np.ndarray):
        self._stddev, self._divisor, self._clip_norm = float(stddev), float(divisor), float(clip_norm)
        self._restart_every, self._noise_key = restart_every, noise_key

    def create(self, value_type: tff.Type) -> tff.templates.AggregationProcess:
        shapes = tff.types.type_to_tf_tensor_specs(value_type)
        query = tfp.TreeResidualSumQuery(
            record_specs=shapes,
            noise_generator=_KeyedNoise(self._stddev, shapes, self._noise_key),
            clip_fn=lambda record, norm: tf.clip_by_global_norm(record, norm)[0],
            clip_value=self._clip_norm,
        )
        if self._restart_every:
            query = tfp.RestartQuery(query, tfp.restart_query.PeriodicRoundRestartIndicator(self._restart_every))
        return _Dp(tfp.NormalizedQuery(query, denominator=self._divisor)).create(value_type)


class _KeyedNoise(tfp.tree_aggregation.GaussianNoiseGenerator):
    """tensorflow-privacy's generator, which counts up from its seed, with a key of 128 bits instead of one number twice."""

    def __init__(self, stddev: float, shapes: object, key: np.ndarray):
        super().__init__(stddev, shapes, seed=0)
        self._key = np.array(key, np.int64)

    def initialize(self) -> object:
        return self._GlobalState(tf.constant(self._key), tf.constant(self._noise_std, tf.float32))
