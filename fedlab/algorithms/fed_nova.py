"""FedNova: updates count per local step, so that clients with more steps do not pull the model towards their own optimum."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from fedlab.algorithms.base import Parts, Process, Stages, check_plain_mean, check_sgd

if TYPE_CHECKING:
    import tensorflow_federated as tff


class FedNova(Process):
    """FedNova (Wang et al. 2020, equations 6 and 11): client i sends d_i = Δ_i / ‖a_i‖₁ and ‖a_i‖₁; the server's gradient is
    (Σ p_i ‖a_i‖₁) · Σ p_i d_i.

    Δ_i is the update of FedAvg and p_i the client's share of the weights. For SGD with momentum ρ and τ steps, ‖a‖₁ =
    (τ − ρ (1 − ρ^τ) / (1 − ρ)) / (1 − ρ), which is τ without momentum. With equal numbers of steps, this is FedAvg.
    """

    sends_models: ClassVar[bool] = False

    def check(self, stages: Stages) -> None:
        super().check(stages)
        check_plain_mean("fed_nova", "numbers of steps", stages)
        check_sgd(
            stages.client_optimizer,
            "process=fed_nova counts the steps of SGD, with or without momentum: use client_optimizer=sgd.",
            momentum=True,
        )

    def build(self, parts: Parts) -> tff.learning.templates.LearningProcess:
        from fedlab.algorithms import client_work, composing

        options, train = parts.client, client_work.local_training(parts.model, parts.client_optimizer.build(), parts.client)
        momentum = float(getattr(parts.client_optimizer, "momentum", 0.0))
        count = len(parts.model.initial_weights[0])

        def update(trainable: Any, non_trainable: Any, data: Any, factor: Any) -> tuple:
            delta, metrics = train(trainable, non_trainable, data, factor)
            steps = client_work.as_float(client_work.num_steps(data, options.batch_size, options.max_local_steps))
            length = (steps - momentum * (1 - momentum**steps) / (1 - momentum)) / (1 - momentum)
            return (*(d / length for d in delta[:count]), *delta[count:], length), metrics

        def combine(mean: tuple) -> tuple:
            *update, length = mean
            return (*(length * d for d in update[:count]), *update[count:])

        return composing.learning_process(parts, update, self.weigh_by_examples(parts.takes_weights), combine=combine)
