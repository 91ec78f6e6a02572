"""FedExP: the server's step is as long as the clients' disagreement allows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import NonNegativeFloat

from fedlab.algorithms.base import Parts, Process, Stages, check_plain_mean

if TYPE_CHECKING:
    import tensorflow_federated as tff


class FedExp(Process):
    """FedExP (Jhunjhunwala et al. 2023, algorithm 1): FedAvg, whose mean update Δ is multiplied by
    max(1, Σ p_i ‖Δ_i‖² / (2 (‖Δ‖² + ε))).

    p_i is client i's share of the weights; a client sends Δ_i and ‖Δ_i‖². If all clients send the same update, this is FedAvg.
    The model is the last one; the paper evaluates the mean of the last two.
    """

    sends_models: ClassVar[bool] = False

    epsilon: NonNegativeFloat = 0.001  # ε: larger values give shorter steps where updates nearly cancel

    def check(self, stages: Stages) -> None:
        super().check(stages)
        check_plain_mean("fed_exp", "norms", stages)

    def build(self, parts: Parts) -> tff.learning.templates.LearningProcess:
        import tensorflow as tf

        from fedlab.algorithms import client_work, composing

        train = client_work.local_training(parts.model, parts.client_optimizer.build(), parts.client)
        count = len(parts.model.initial_weights[0])

        def update(trainable: Any, non_trainable: Any, data: Any, factor: Any) -> tuple:
            delta, metrics = train(trainable, non_trainable, data, factor)
            return (*delta, client_work.squared_norm(delta[:count])), metrics

        def combine(mean: tuple) -> tuple:
            *update, squared = mean
            length = squared / (2 * (client_work.squared_norm(update[:count]) + self.epsilon))
            length = tf.where(squared > 0, tf.maximum(length, 1.0), 1.0)  # without updates, 0 / 0
            return (*(length * d for d in update[:count]), *update[count:])

        return composing.learning_process(parts, update, self.weigh_by_examples(parts.takes_weights), combine=combine)
