"""The mechanisms as TFF aggregation factories, out of tensorflow-privacy's queries. Nobody else imports either.

All divide by a constant, whoever reports: the number of those who did is private under Poisson sampling. All bring updates to
where their clipping is sound first (`bounded`): one whose norm overflows would turn the sum into NaN, and the server would drop
the sum with its noise.
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
    """Noise of `noise_multiplier · clip_norm` on the sum."""
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
    """The same with an adaptive norm. The noise is divided between the sum and the count of the unclipped, as
    `fedlab.privacy.GaussianAdaptive` says."""
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
    """Noise of `noise_multiplier · clip_norm` on each node. It is drawn from `noise_key`, int64 [2], and a counter in the
    state, so it is the same whichever engine runs it."""
    return _Bounded(_TreeFactory(noise_multiplier * clip_norm, divisor, clip_norm, restart_every, noise_key))


class _Bounded(tff.aggregators.UnweightedAggregationFactory):
    """`mechanism`, given updates that its clipping can bound, whatever clients send."""

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
    """tensorflow-privacy's query, whose clip norm stays where clipping is sound. It follows what clients send: driven far enough,
    it would be infinite or zero, the sum NaN, and the server would drop the sum with its noise."""

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
    """Puts the query together once the shapes are known. TFF's own factory restarts only with adaptive clipping."""

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
    """tensorflow-privacy's generator, which counts up from its seed, from a key of 128 bits instead of one number twice."""

    def __init__(self, stddev: float, shapes: object, key: np.ndarray):
        super().__init__(stddev, shapes, seed=0)
        self._key = np.array(key, np.int64)

    def initialize(self) -> object:
        return self._GlobalState(tf.constant(self._key), tf.constant(self._noise_std, tf.float32))
