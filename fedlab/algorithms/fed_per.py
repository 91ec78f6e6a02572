"""FedPer and LG-FedAvg: clients train all layers together, and send some of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from fedlab.algorithms.base import KeepingProcess, Parts, Stages, check_no_noise_on_clients
from fedlab.errors import ConfigError
from fedlab.spec import Promise

if TYPE_CHECKING:
    from fedlab.algorithms.keeping import Keeping


class FedPer(KeepingProcess):
    """FedPer (Arivazhagan et al. 2019, algorithms 1 and 2): a client trains all layers, sends the body, and keeps its head.

    `kept`: body is LG-FedAvg (Liang et al. 2020, algorithm 1): a client keeps the body, which represents its inputs, and sends
    the head. Kept layers never leave their clients. FedRep, in contrast, trains the head and the body one after the other.
    """

    vouches: ClassVar[tuple[Promise, ...]] = ("privacy",)
    personal: ClassVar[bool] = True

    head: tuple[str, ...] | None = None  # names of layers; None: the last layer with weights. (): no head; FedAvg with kept=head
    kept: Literal["head", "body"] = "head"

    def check(self, stages: Stages) -> None:
        super().check(stages)
        check_no_noise_on_clients(
            stages,
            "process=fed_per trains the layers that a client keeps without noise: use client=standard without weight_noise.",
        )

    @property
    def keeps(self) -> str:
        return "" if self.head == () and self.kept == "head" else f"{self.kept} layers"

    def keeping(self, parts: Parts) -> Keeping:
        from fedlab.algorithms import heads

        body, head = heads.halves(parts, self.head)
        sent, kept = (body, head) if self.kept == "head" else (head, body)
        if not sent.mine:
            raise ConfigError(
                "process.head=[] with process.kept=body leaves no layer for clients to share: name the head's layers."
            )
        return heads.keeping(parts, sent, kept)
