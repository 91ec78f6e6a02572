"""Split learning: one model, its lower layers on the clients, its upper layers on a server. Imports no TensorFlow.

Images never leave a client; what crosses the cut is activations up and their gradients down (Gupta & Raskar 2018; Vepakomma et
al. 2018). Both sides step at the same moment from the same weights, so training a cut model is training the model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat

from fedlab.errors import ConfigError
from fedlab.process import DpSgd, Ingredients, LocalTraining, Process
from fedlab.process.optimizers import Optimizer

if TYPE_CHECKING:
    import tensorflow_federated as tff

__all__ = ["Split"]


class Split(Process):
    """A cut model, trained across the cut. It is no TFF process: `fedlab.run.split` runs it, without an engine.

    A round is a turn of each client of the cohort: its local epochs, batch by batch. `client_optimizer` serves both sides, and
    begins anew with every turn, as it does in a round of FedAvg. So one client is FedAvg with one client, and `order=parallel`
    is FedAvg, to float rounding.
    """

    cut: str | None = None  # the last layer a client holds; None: that before the logits or, where clients keep the labels,
    # the first with weights
    cut_top: str | None = None  # labels=client: the last layer the server holds; None: that before the logits
    # server: labels go up with the activations (label sharing). client: the client has the top of the model as well (U-shape),
    # takes features down and sends their gradients up
    labels: Literal["server", "client"] = "server"
    # sequential: clients take turns, and each goes on with the weights of the one before. parallel: each starts from the same
    # weights, has a copy of the server's part, and the mean of both is taken (SplitFedV1, Thapa et al. 2022)
    order: Literal["sequential", "parallel"] = "sequential"
    handover: Literal["server", "peer"] = "server"  # how clients that take turns hand weights on: up and down, or directly
    server_learning_rate: PositiveFloat | None = None  # of the server's part; None: that of client_optimizer
    leakage_penalty: NonNegativeFloat = 0.0  # α of α · dCor²(images, activations) in each client's loss (Vepakomma et al. 2020)
    leakage_examples: int = Field(500, ge=0, le=5000)  # on how many training examples distance correlation is measured; 0: not
    composed: ClassVar[bool] = False
    aggregates: ClassVar[bool] = False
    name: ClassVar[str] = "split"

    def check(self, client: LocalTraining, client_optimizer: Optimizer, why_uniform: str | None = None) -> None:
        super().check(client, client_optimizer, why_uniform)
        if isinstance(client, DpSgd) or client.weight_noise:
            raise ConfigError("process=split sends activations and no update: use client=standard without weight_noise.")
        if self.cut_top is not None and self.labels == "server":
            raise ConfigError(
                f"process.cut_top={self.cut_top} is where a U-shape begins its way down: it goes with process.labels=client."
            )
        if self.order == "parallel" and self.handover == "peer":
            raise ConfigError(
                "process.handover=peer hands weights from client to client in turn, and with process.order=parallel they are "
                "averaged: use process.handover=server, or process.order=sequential."
            )

    def build(self, parts: Ingredients) -> tff.learning.templates.LearningProcess:
        raise AssertionError("split learning is no TFF process")
