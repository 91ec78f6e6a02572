"""Federated averaging."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from fedlab.algorithms.base import Parts, Process
from fedlab.spec import Promise

if TYPE_CHECKING:
    import tensorflow_federated as tff


class FedAvg(Process):
    """Federated averaging (McMahan et al. 2017, algorithm 1), with the server step generalised by Reddi et al. 2021.

    Each client trains on its own examples from the global weights; the mean of the clients' updates is the server optimizer's
    gradient. The server optimizer SGD at learning rate 1 gives the original algorithm.
    """

    vouches: ClassVar[tuple[Promise, ...]] = ("privacy",)
    sends_models: ClassVar[bool] = True

    def build(self, parts: Parts) -> tff.learning.templates.LearningProcess:
        from fedlab.algorithms import client_work, composing

        update = client_work.local_training(parts.model, parts.client_optimizer.build(), parts.client)
        return composing.learning_process(parts, update, self.weigh_by_examples(parts.takes_weights))
