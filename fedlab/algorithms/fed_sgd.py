"""FedSGD: one gradient per client and round."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from fedlab.algorithms.base import Parts, Process, Stages, check_no_noise_on_clients, check_sgd
from fedlab.errors import ConfigError
from fedlab.spec import Promise

if TYPE_CHECKING:
    import tensorflow_federated as tff


class FedSgd(Process):
    """FedSGD (McMahan et al. 2017): each client sends the gradient over all its examples, and the server takes the step.

    `client.batch_size` only bounds memory: the gradient does not depend on it. The learning rate is the server's.
    """

    vouches: ClassVar[tuple[Promise, ...]] = ("privacy",)

    def check(self, stages: Stages) -> None:
        super().check(stages)
        client, optimizer = stages.client, stages.client_optimizer
        if (client.local_epochs, client.max_local_steps) != (1, None):
            raise ConfigError(
                "process=fed_sgd sends one gradient over all of a client's examples: "
                "client.local_epochs must be 1 and client.max_local_steps null, or use process=fed_avg."
            )
        check_no_noise_on_clients(
            stages, "process=fed_sgd trains nothing on clients: use client=standard without weight_noise, or process=fed_avg."
        )
        check_sgd(
            optimizer,
            "process=fed_sgd takes its step on the server and has no use for a client optimizer: "
            "leave client_optimizer=sgd, and choose a server_optimizer.",
        )

    def build(self, parts: Parts) -> tff.learning.templates.LearningProcess:
        from fedlab.algorithms import client_work, composing

        update = client_work.full_gradient(parts.model, parts.client.batch_size)
        return composing.learning_process(parts, update, self.weigh_by_examples(parts.takes_weights))
