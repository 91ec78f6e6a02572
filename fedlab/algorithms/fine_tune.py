"""FedAvg, whose model each client fine-tunes before it uses it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import PositiveFloat, PositiveInt

from fedlab.algorithms.base import Parts, Process, Setting, Stages, check_no_noise_on_clients
from fedlab.algorithms.fed_avg import FedAvg
from fedlab.spec import Promise

if TYPE_CHECKING:
    import tensorflow_federated as tff

    from fedlab.algorithms.trainer import Trainer


class FineTune(Process):
    """FedAvg, evaluated after fine-tuning: a client's model is the global one after `fine_tuning_epochs` on its own examples.

    Fine-tuning starts from the current global model, takes part in no round, sends nothing, and does not change the training: the
    global model is that of FedAvg. Each evaluation fine-tunes the models of all clients, with a new state of the optimizer, and
    in the same order of examples each time. A client that is never trained fine-tunes the global model as well.
    """

    vouches: ClassVar[tuple[Promise, ...]] = ("privacy",)
    personal: ClassVar[bool] = True

    fine_tuning_epochs: PositiveInt = 1
    fine_tuning_rate: PositiveFloat | None = None  # None: client_optimizer.learning_rate, without client_schedule

    @property
    def keeps(self) -> str:
        return "fine-tuned models"

    def check(self, stages: Stages) -> None:
        super().check(stages)
        check_no_noise_on_clients(
            stages, "process=fine_tune fine-tunes a client's model without noise: use client=standard without weight_noise."
        )

    def build(self, parts: Parts) -> tff.learning.templates.LearningProcess:
        return FedAvg(client_weighting=self.client_weighting).build(parts)

    def start(self, parts: Parts, setting: Setting) -> Trainer:
        from fedlab.algorithms.fine_tuning_trainer import FineTuningTrainer

        return FineTuningTrainer(self.build(parts), self.tuned(parts), self.fine_tuning_epochs, parts, setting)

    def tuned(self, parts: Parts) -> Parts:
        """Returns the parts of the training of one client alone, whose round replaces the global model by the client's."""
        rate = self.fine_tuning_rate or parts.client_optimizer.learning_rate
        return Parts(
            model=parts.model,
            examples=parts.examples,
            client=parts.client.model_copy(update={"local_epochs": self.fine_tuning_epochs, "max_local_steps": None}),
            client_optimizer=parts.client_optimizer.model_copy(update={"learning_rate": rate}),
            num_clients=parts.num_clients,
            num_examples=parts.num_examples,
        )
