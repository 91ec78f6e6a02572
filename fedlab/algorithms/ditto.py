"""Ditto: a model for each client, which a term keeps near the global model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import NonNegativeFloat, PositiveInt

from fedlab.algorithms.base import OwnModels, Parts
from fedlab.spec import Promise

if TYPE_CHECKING:
    from fedlab.algorithms.keeping import Keeping


class Ditto(OwnModels):
    """Ditto (Li et al. 2021, algorithm 1) with FedAvg for the global model w.

    In each round, a client trains w as in FedAvg and sends the update. It also trains its own model v, which never leaves it, by
    steps along ∇F(v) + λ (v − w) with the w that it received. λ = 0 is training alone; a large λ keeps v at w. The metrics of
    training are those of the global model, and the test metrics are those of the clients' own models.
    """

    vouches: ClassVar[tuple[Promise, ...]] = ("privacy",)
    choice: ClassVar[str] = "ditto"

    personal_strength: NonNegativeFloat = 0.1  # λ
    personal_epochs: PositiveInt = 1  # passes over a client's examples for its own model

    def epochs(self, client: Any) -> int:
        return client.local_epochs + self.personal_epochs

    def keeping(self, parts: Parts) -> Keeping:
        from fedlab.algorithms import client_work, keeping

        model, optimizer, options = parts.model, parts.client_optimizer.build(), parts.client
        train = client_work.local_training(model, optimizer, options)

        def update(shared: Any, fixed: Any, data: Any, factor: Any, mine: Any, _: Any) -> tuple:
            def pulled(gradient: Any, weights: Any, received: Any) -> tuple:  # batch statistics are not pulled
                return tuple(g + self.personal_strength * (v - w) for g, v, w in zip(gradient, weights, shared))

            first, then = data["order"][: options.local_epochs], data["order"][options.local_epochs :]
            delta, metrics = train(shared, fixed, {**data, "order": first}, factor)
            own: tuple[tuple, tuple] = model.divided(mine, fixed)
            train_own = client_work.local_training(model, optimizer, options, pulled)
            change, _ = train_own(*own, {**data, "order": then}, factor)
            return delta, metrics, tuple(v - d for v, d in zip(mine, change)), ()

        return keeping.Keeping(model.trained, update, own_model=lambda shared, mine: mine)
