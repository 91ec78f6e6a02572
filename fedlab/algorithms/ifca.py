"""IFCA: several global models, each for a cluster of clients that find each other by their losses."""

from __future__ import annotations

import math
import types
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from pydantic import Field, PositiveInt

from fedlab import randomness
from fedlab.aggregation import Mean
from fedlab.algorithms.base import KeepingProcess, Parts, Stages, check_no_noise_on_clients
from fedlab.errors import ConfigError

if TYPE_CHECKING:
    from fedlab.algorithms.keeping import Keeping


class Ifca(KeepingProcess):
    """IFCA (Ghosh et al. 2020, algorithm 1, model averaging): the server has k models, one for each cluster of clients.

    A client receives all of them, chooses the one with the smallest loss on its training examples, and trains it as in FedAvg.
    The server's step for a model uses the mean update of the clients that chose it, and zero if nobody did. k = 1 is FedAvg. A
    client sends zeros for the other models, so that a secure sum hides the choice: k times FedAvg's traffic in both directions.
    A client keeps its newest choice, which is its model in an evaluation; before its first round this is the first model. A
    client that is never trained chooses in the same way. Each model has its own statistics of batch normalization, with which a
    client compares the losses.
    """

    personal: ClassVar[bool] = True

    num_clusters: PositiveInt = 2  # k
    # Difference d of the other initial models from the first one. 1: each is drawn anew, with the mean and the standard deviation
    # of each tensor; below 1: correlated by √(1 − d²), for a first one that is already trained
    initial_difference: Annotated[float, Field(gt=0, le=1)] = 1.0

    @property
    def keeps(self) -> str:
        return "choices of a model" if self.num_clusters > 1 else ""

    @property
    def why_no_init(self) -> str:
        if self.num_clusters == 1 or self.initial_difference < 1:
            return ""
        return (
            "process=ifca draws the models of all clusters but the first anew: lower process.initial_difference, such as to "
            "0.1, so that all of them start near these weights."
        )

    def check(self, stages: Stages) -> None:
        super().check(stages)
        if stages.privacy.adds_noise:
            raise ConfigError(
                "process=ifca divides the sum of each model's updates by the share of its clients, which noise would distort: "
                "use privacy=none, or another process."
            )
        if type(stages.aggregator) is not Mean:
            raise ConfigError(
                "process=ifca sends zeros for the models that a client did not choose, which only aggregator=mean counts right."
            )
        check_no_noise_on_clients(stages, "process=ifca chooses a model without noise: use client=standard without weight_noise.")

    def keeping(self, parts: Parts) -> Keeping:
        import tensorflow as tf

        from fedlab.algorithms import client_work, keeping

        model, k = parts.model, self.num_clusters
        client_work.check_unconstrained(model, "ifca")
        count = len(model.initial_weights[0])
        train = client_work.local_training(model, parts.client_optimizer.build(), parts.client)
        loss = client_work.mean_loss(model, parts.client.batch_size)

        def update(received: Any, fixed: Any, data: Any, factor: Any, _: Any, __: Any) -> tuple:
            *models, _ = received

            def of(j: Any) -> tuple[tuple, tuple]:
                """Returns the weights of model j, (trainable, non-trainable)."""
                return tuple(m[j] for m in models), model.moved(fixed, tuple(s[j] for s in model.statistics_of(fixed)))

            losses = tf.stack([loss(*of(j), data) for j in range(k)])
            chosen = tf.argmin(tf.where(tf.math.is_nan(losses), np.inf, losses), output_type=tf.int32)
            delta, metrics = train(*of(chosen), data, factor)
            share = tf.one_hot(chosen, k)
            sent = tuple(tf.reshape(share, [k] + [1] * d.shape.rank) * d for d in delta)
            return (*sent[:count], share, *sent[count:]), metrics, (client_work.as_float(chosen),), ()

        def of_clusters(mean: Any) -> tuple:
            """Returns, for each model, the mean update of the clients that chose it."""
            shares, sums = mean[count], (*mean[:count], *mean[count + 1 :])
            each = [tf.math.divide_no_nan(s, tf.reshape(shares, [k] + [1] * (s.shape.rank - 1))) for s in sums]
            return (*each[:count], tf.zeros_like(shares), *each[count:])

        stacked = [np.stack(tensors) for tensors in zip(*self._initial_models(model.initial_weights[0]))]
        weights = (*stacked, np.zeros([k], np.float32))  # the last one only carries the shares of clients to the server
        statistics = tuple(np.stack([s] * k) for s in model.statistics_of(model.initial_weights[1]))
        return keeping.Keeping(
            (np.zeros([], np.float32),),
            update,
            gradient=of_clusters,
            model=types.SimpleNamespace(
                initial_weights=(weights, model.moved(model.initial_weights[1], statistics)),
                trained=(*weights, *statistics),
                finalize_metrics=model.finalize_metrics,
                statistics=model.statistics,
                constraints=(),
                fixed_bytes=model.fixed_bytes,
            ),
            own_model=lambda received, kept: [np.asarray(m)[int(kept[0])] for m in (*received[:count], *received[count + 1 :])],
            for_unseen=tuple((np.array(j, np.float32),) for j in range(k)),
        )

    def _initial_models(self, first: Sequence[np.ndarray]) -> list[list[np.ndarray]]:
        """Returns k lists of tensors. `first`: the initial weights, from which the draws follow."""
        seed, share = zlib.crc32(b"".join(w.tobytes() for w in first)), self.initial_difference
        found = [list(first)]
        for j in range(1, self.num_clusters):
            rng = randomness.generator(seed, "initial weights of a cluster", j)
            drawn = [w.mean() + w.std() * rng.normal(size=w.shape) for w in first]
            mixed = [w.mean() + math.sqrt(1 - share**2) * (w - w.mean()) + share * (d - w.mean()) for w, d in zip(first, drawn)]
            found.append([m.astype(np.float32) for m in mixed])
        return found
