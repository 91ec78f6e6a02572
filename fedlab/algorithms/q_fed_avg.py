"""q-FedAvg: clients with a larger loss count more, so that accuracy is spread more evenly over clients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import NonNegativeFloat

from fedlab.algorithms.base import Parts, Process, Stages, check_plain_mean, check_sgd

if TYPE_CHECKING:
    import tensorflow_federated as tff


class QFedAvg(Process):
    """q-FedAvg (Li et al. 2020, "Fair resource allocation", algorithm 2), with L = 1 / (client learning rate).

    F_k is the loss of the received model on all of client k's examples, and Δw_k = L · (initial − trained). The client sends
    Δ_k = F_k^q Δw_k and h_k = q F_k^(q − 1) ‖Δw_k‖² + L F_k^q; the server's gradient is Σ Δ_k / Σ h_k. All clients of a cohort
    count alike, and `fairness` 0 is FedAvg with equal weights.
    """

    sends_models: ClassVar[bool] = False

    client_weighting: Literal["auto", "uniform"] = "auto"  # both give all clients the same weight
    fairness: NonNegativeFloat = 1.0  # q

    def weigh_by_examples(self, takes_weights: bool) -> bool:
        return False

    def check(self, stages: Stages) -> None:
        super().check(stages)
        check_plain_mean("q_fed_avg", "losses", stages)
        check_sgd(
            stages.client_optimizer,
            "process=q_fed_avg takes 1 / learning rate for the smoothness of the loss: use client_optimizer=sgd with momentum 0.",
        )

    def build(self, parts: Parts) -> tff.learning.templates.LearningProcess:
        import tensorflow as tf

        from fedlab.algorithms import client_work, composing

        train = client_work.local_training(parts.model, parts.client_optimizer.build(), parts.client)
        mean_loss = client_work.mean_loss(parts.model, parts.client.batch_size)
        count, q, rate = len(parts.model.initial_weights[0]), self.fairness, float(parts.client_optimizer.learning_rate)

        def update(trainable: Any, non_trainable: Any, data: Any, factor: Any) -> tuple:
            delta, metrics = train(trainable, non_trainable, data, factor)
            smoothness = 1.0 / (rate * factor)
            # A loss that has reached 0 would give 0^(q − 1)
            loss = tf.maximum(mean_loss(trainable, non_trainable, data), 1e-10)
            scaled = tuple(smoothness * d for d in delta[:count])
            h = q * loss ** (q - 1) * client_work.squared_norm(scaled) + smoothness * loss**q
            return (*(loss**q * d for d in scaled), *delta[count:], h), metrics

        def combine(mean: tuple) -> tuple:
            *update, h = mean
            return (*(tf.math.divide_no_nan(d, h) for d in update[:count]), *update[count:])

        return composing.learning_process(parts, update, weigh_by_examples=False, combine=combine)
