"""Split learning: one model, with its lower layers on the clients and its upper layers on a server. Imports no TensorFlow.

Images never leave a client; activations cross the cut upwards and their gradients downwards (Gupta & Raskar 2018; Vepakomma et
al. 2018). Both sides step at the same moment from the same weights, so training a cut model equals training the model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat

from fedlab.algorithms.base import (
    Algorithm,
    Parts,
    Setting,
    Stages,
    check_no_noise_on_clients,
    check_nothing_is_summed,
)
from fedlab.algorithms.optimizers import Sgd
from fedlab.engine import Compiled
from fedlab.errors import ConfigError

if TYPE_CHECKING:
    from fedlab.algorithms.trainer import Trainer

__all__ = ["Split"]


class Split(Algorithm):
    """A cut model, trained across the cut. It is no TFF process and has no engine: the parties use a channel (`trainer`).

    A round is a turn of each client of the cohort: its local epochs, batch by batch. `client_optimizer` applies to both sides and
    is reset at every turn, as in a round of FedAvg. Therefore one client equals FedAvg with one client, and `order=parallel`
    equals FedAvg, to float rounding.
    """

    waits: ClassVar[bool] = False  # clients take turns

    cut: str | None = None  # the last layer on the client; None: the one before the logits or, with labels=client,
    # the first with weights
    cut_top: str | None = None  # labels=client: the last layer on the server; None: the one before the logits
    # server: labels are sent with the activations (label sharing). client: the client also has the top of the model (U-shape),
    # receives features and sends their gradients
    labels: Literal["server", "client"] = "server"
    # sequential: each client continues with the weights of the one before. parallel: all clients start from the same weights,
    # each with a copy of the server's part, and the copies are averaged (SplitFedV1, Thapa et al. 2022)
    order: Literal["sequential", "parallel"] = "sequential"
    handover: Literal["server", "peer"] = "server"  # order=sequential: weights go to the next client by the server, or directly
    server_learning_rate: PositiveFloat | None = None  # for the server's part; None: that of client_optimizer
    leakage_penalty: NonNegativeFloat = 0.0  # α of α · dCor²(images, activations) in each client's loss (Vepakomma et al. 2020)
    leakage_examples: int = Field(500, ge=0, le=5000)  # training examples for the distance correlation; 0: not measured

    def check(self, stages: Stages) -> None:
        super().check(stages)
        check_nothing_is_summed(
            "split",
            stages,
            **{
                "engine=compiled": type(stages.engine) is Compiled,
                "server_optimizer=sgd at learning rate 1": stages.server_optimizer == Sgd(learning_rate=1.0),
            },
        )
        check_no_noise_on_clients(
            stages, "process=split sends activations and no update: use client=standard without weight_noise."
        )
        if self.cut_top is not None and self.labels == "server":
            raise ConfigError(
                f"process.cut_top={self.cut_top} is where a U-shape begins its way down: it goes with process.labels=client."
            )
        if self.order == "parallel" and self.handover == "peer":
            raise ConfigError(
                "process.handover=peer hands weights from client to client in turn, and with process.order=parallel they are "
                "averaged: use process.handover=server, or process.order=sequential."
            )

    def start(self, parts: Parts, setting: Setting) -> Trainer:
        from fedlab.algorithms.split.trainer import SplitTrainer

        return SplitTrainer(self, parts, setting)
