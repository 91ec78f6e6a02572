"""FedRep: one representation for all clients, and a separate head for each client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import PositiveInt

from fedlab.algorithms.base import KeepingProcess, Parts, Stages, check_no_noise_on_clients
from fedlab.errors import ConfigError
from fedlab.spec import Promise

if TYPE_CHECKING:
    from fedlab.algorithms.keeping import Keeping


class FedRep(KeepingProcess):
    """FedRep (Collins et al. 2021, algorithm 1): in each round a client first trains its head, then the body, and sends the body.

    The body consists of all layers outside the head; `client.local_epochs` applies to the body. Heads never leave their clients.
    """

    vouches: ClassVar[tuple[Promise, ...]] = ("privacy",)
    personal: ClassVar[bool] = True

    head: tuple[str, ...] | None = None  # names of layers; None: the last layer with weights. (): no head, which is FedAvg
    head_epochs: PositiveInt = 10

    def check(self, stages: Stages) -> None:
        super().check(stages)
        check_no_noise_on_clients(
            stages, "process=fed_rep trains a client's head without noise: use client=standard without weight_noise."
        )

    @property
    def keeps(self) -> str:
        return "" if self.head == () else "heads"

    def epochs(self, client: Any) -> int:
        return client.local_epochs + (0 if self.head == () else self.head_epochs)

    def keeping(self, parts: Parts) -> Keeping:
        from fedlab.algorithms import client_work, heads, keeping

        body, head = heads.halves(parts, self.head)
        if head.statistics:
            raise ConfigError(
                "process.head contains batch normalization, and process=fed_rep trains the head and the body one after the "
                "other: use process=fed_per or fed_bn, or leave these layers in the body."
            )
        optimizer = parts.client_optimizer.build()
        train_body, train_head = (client_work.local_training(half, optimizer, parts.client) for half in (body, head))
        body_epochs = parts.client.local_epochs

        def update(shared: Any, fixed: Any, data: Any, factor: Any, mine: Any, _: Any) -> tuple:
            if mine:
                own = {**data, "order": data["order"][body_epochs:]}
                delta, _ = train_head(mine, (shared, fixed), own, factor)
                mine = tuple(w - d for w, d in zip(mine, delta))
            delta, metrics = train_body(shared, (mine, fixed), {**data, "order": data["order"][:body_epochs]}, factor)
            return delta, metrics, mine, ()

        return keeping.Keeping(head.trained, update, model=body, own_model=body.whole)
