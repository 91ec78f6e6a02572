"""Federated averaging."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from fedlab.algorithms.base import Parts, Process, Setting, Stages, check_no_noise_on_clients
from fedlab.spec import Promise

if TYPE_CHECKING:
    import tensorflow_federated as tff

    from fedlab.algorithms.trainer import Trainer


class FedAvg(Process):
    """Federated averaging (McMahan et al. 2017, algorithm 1), with the server step generalised by Reddi et al. 2021.

    Each client trains on its own examples from the global weights; the mean of the clients' updates is the server optimizer's
    gradient. The server optimizer SGD at learning rate 1 gives the original algorithm.
    """

    vouches: ClassVar[tuple[Promise, ...]] = ("privacy",)
    sends_models: ClassVar[bool] = True

    # True: the state of a client's optimizer (momentum, Adam's moments) stays on the client for its next round. False: each round
    # begins with a new one
    keep_optimizer: bool = False

    @property
    def keeps(self) -> str:
        return "optimizer states" if self.keep_optimizer else ""

    def check(self, stages: Stages) -> None:
        super().check(stages)
        if self.keep_optimizer:
            check_no_noise_on_clients(
                stages, "process.keep_optimizer=true keeps gradients without noise: use client=standard without weight_noise."
            )

    def start(self, parts: Parts, setting: Setting) -> Trainer:
        if not self.keep_optimizer:
            return super().start(parts, setting)
        from fedlab.algorithms import kept_optimizer
        from fedlab.algorithms.keeping_trainer import KeepingTrainer

        return KeepingTrainer(self.build(parts), kept_optimizer.keeping(parts), parts, setting)

    def build(self, parts: Parts) -> tff.learning.templates.LearningProcess:
        from fedlab.algorithms import client_work, composing

        if self.keep_optimizer:
            from fedlab.algorithms import keeping, kept_optimizer

            return keeping.learning_process(parts, kept_optimizer.keeping(parts), self.weigh_by_examples(parts.takes_weights))
        update = client_work.local_training(parts.model, parts.client_optimizer.build(), parts.client)
        return composing.learning_process(parts, update, self.weigh_by_examples(parts.takes_weights))
