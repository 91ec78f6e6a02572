"""Aggregators combine client updates on the server. Each spec's `build()` returns a weighted TFF aggregation factory.

Configurations name these specs; they import TensorFlow only in `build()`.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field, NonNegativeInt, PositiveInt

from fedlab.errors import ConfigError
from fedlab.spec import Spec

if TYPE_CHECKING:
    import tensorflow_federated as tff

__all__ = ["Aggregator", "Compressed", "CoordinateMedian", "Krum", "Mean", "Robust", "Secure", "TrimmedMean"]


class Aggregator(Spec):
    """The options of one aggregation rule."""

    makes: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "build": (
            "tensorflow_federated.aggregators.WeightedAggregationFactory",
            "tensorflow_federated.aggregators.UnweightedAggregationFactory",
        )
    }

    takes_weights: ClassVar[bool] = True  # False: all clients have the same weight
    # True: the rule compares individual updates, so it can run neither on secure sums nor on partial sums
    needs_individual_updates: ClassVar[bool] = False
    sends_updates: ClassVar[bool] = False  # True: clients send float updates; each class states this for itself
    marks_sums: ClassVar[bool] = False  # True: it needs sums that only a secure-sum protocol can compute

    @abc.abstractmethod
    def build(self) -> tff.aggregators.WeightedAggregationFactory:
        """Returns the factory. A client of weight 0 does not affect the result."""

    def check(self, most_clients: int) -> None:
        """Raises `ConfigError` if the rule cannot work with at most `most_clients` reporting clients."""


class Mean(Aggregator):
    """The weighted mean (McMahan et al. 2017, algorithm 1)."""

    sends_updates: ClassVar[bool] = True

    def build(self) -> tff.aggregators.WeightedAggregationFactory:
        import tensorflow_federated as tff

        return tff.aggregators.MeanFactory(no_nan_division=True)  # all weights are 0 if no client's update is finite


class Robust(Aggregator):
    """The mean after zeroing updates of extreme norm and clipping the rest, both bounds adaptive (Andrew et al. 2021)."""

    sends_updates: ClassVar[bool] = True
    zeroing: bool = True
    clipping: bool = True

    def build(self) -> tff.aggregators.WeightedAggregationFactory:
        import tensorflow_federated as tff

        return _bounded(tff.aggregators.MeanFactory(no_nan_division=True), self.zeroing, self.clipping)


class Secure(Aggregator):
    """TFF's `secure_aggregator`: like `Robust`; then every value is clipped to adaptive bounds, quantised to integers, and
    marked for secure summation, including weights and the aggregator's own measurements.
    """

    zeroing: bool = True
    clipping: bool = True
    marks_sums: ClassVar[bool] = True

    def build(self) -> tff.aggregators.WeightedAggregationFactory:
        import tensorflow_federated as tff

        return tff.learning.secure_aggregator(zeroing=self.zeroing, clipping=self.clipping)


class Compressed(Aggregator):
    """TFF's compression: quantises tensors of more than `threshold` elements, uniformly and with stochastic rounding.

    `quantization_bits`: bits per value, 1 to 16. The mean includes the rounding errors.
    """

    quantization_bits: Annotated[int, Field(ge=1, le=16)] = 8
    threshold: PositiveInt = 20_000  # elements; smaller tensors are sent unchanged
    zeroing: bool = True
    clipping: bool = True

    def build(self) -> tff.aggregators.WeightedAggregationFactory:
        import tensorflow_federated as tff

        factory: tff.aggregators.WeightedAggregationFactory = tff.aggregators.MeanFactory(
            tff.aggregators.EncodedSumFactory.quantize_above_threshold(self.quantization_bits, self.threshold),
            no_nan_division=True,
        )
        return _bounded(factory, self.zeroing, self.clipping)


class CoordinateMedian(Aggregator):
    """The median of each coordinate (Yin et al. 2018, definition 1)."""

    takes_weights: ClassVar[bool] = False
    needs_individual_updates: ClassVar[bool] = True

    def build(self) -> tff.aggregators.WeightedAggregationFactory:
        from fedlab.aggregation import stacked

        return stacked.StackedFactory(stacked.coordinate_median)


class TrimmedMean(Aggregator):
    """The mean of each coordinate without its `trim_fraction` smallest and largest values (Yin et al. 2018, definition 2)."""

    trim_fraction: Annotated[float, Field(ge=0, lt=0.5)] = 0.1  # β, on each side; rounded down to whole clients
    takes_weights: ClassVar[bool] = False
    needs_individual_updates: ClassVar[bool] = True

    def build(self) -> tff.aggregators.WeightedAggregationFactory:
        from fedlab.aggregation import stacked

        return stacked.StackedFactory(stacked.trimmed_mean(self.trim_fraction))


class Krum(Aggregator):
    """The mean of the `num_selected` updates nearest to their neighbours (Blanchard et al. 2017): 1 is Krum, more Multi-Krum."""

    num_byzantine: NonNegativeInt = 1  # f, the number of clients that may send arbitrary updates
    num_selected: PositiveInt = 1  # m
    takes_weights: ClassVar[bool] = False
    needs_individual_updates: ClassVar[bool] = True

    def build(self) -> tff.aggregators.WeightedAggregationFactory:
        from fedlab.aggregation import stacked

        return stacked.StackedFactory(stacked.krum(self.num_byzantine, self.num_selected))

    def check(self, most_clients: int) -> None:
        if most_clients < 2 * self.num_byzantine + 3:
            raise ConfigError(
                f"aggregator.num_byzantine={self.num_byzantine} needs at least {2 * self.num_byzantine + 3} clients per round "
                f"(2f + 3), but at most {most_clients} report: sample more clients or lower aggregator.num_byzantine."
            )
        if self.num_selected > most_clients - self.num_byzantine:
            raise ConfigError(
                f"aggregator.num_selected={self.num_selected} must be at most {most_clients - self.num_byzantine} "
                f"({most_clients} clients per round minus {self.num_byzantine} byzantine): lower it, or sample more clients."
            )


def _bounded(
    factory: tff.aggregators.WeightedAggregationFactory, zeroing: bool, clipping: bool
) -> tff.aggregators.WeightedAggregationFactory:
    """Returns `factory` behind zeroing and then clipping, with the adaptive bounds of `tff.learning.robust_aggregator`."""
    import tensorflow_federated as tff

    estimate = tff.aggregators.PrivateQuantileEstimationProcess.no_noise
    if clipping:  # follows the 80 % quantile of the norms
        norm = estimate(initial_estimate=1.0, target_quantile=0.8, learning_rate=0.2)
        factory = tff.aggregators.clipping_factory(norm, factory)
    if zeroing:  # above 2 × the 98 % quantile + 1, which rises quickly
        norm = estimate(initial_estimate=10.0, target_quantile=0.98, learning_rate=math.log(10.0), multiplier=2.0, increment=1.0)
        factory = tff.aggregators.zeroing_factory(norm, factory)
    return factory
