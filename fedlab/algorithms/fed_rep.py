"""FedRep: one representation for all clients, and a separate head for each client."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import PositiveInt

from fedlab.algorithms.base import KeepingProcess, Parts, Stages, check_no_noise_on_clients
from fedlab.errors import ConfigError, did_you_mean
from fedlab.spec import Promise

if TYPE_CHECKING:
    import tensorflow_federated as tff

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
        from fedlab.algorithms import client_work, keeping

        body, head = self.halves(parts)
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

        return keeping.Keeping(head.weights, update, model=body, own_model=body.whole)

    def halves(self, parts: Parts) -> tuple[Half, Half]:
        """Returns body and head. Raises `ConfigError` for layers that the model does not have."""
        assert parts.keras is not None, "a classifier"
        layers = [layer for layer in parts.keras.layers if layer.trainable_variables]
        names = [layer.name for layer in layers]
        head = tuple(names[-1:]) if self.head is None else self.head
        for name in head:
            if name not in names:
                raise ConfigError(f"process.head={name} is no layer with weights: {', '.join(names)}.{did_you_mean(name, names)}")
        if len(set(head)) == len(names):
            raise ConfigError(f"process.head={', '.join(head)} leaves no layer for clients to share: use process=local_only.")
        own = {v.ref() for layer in layers if layer.name in head for v in layer.trainable_variables}
        is_head = [v.ref() in own for v in parts.keras.trainable_variables]
        places = range(len(is_head))
        return (
            Half(parts.model, [i for i in places if not is_head[i]]),
            Half(parts.model, [i for i in places if is_head[i]]),
        )


class Half:
    """A functional model in which the trainable weights at the positions `mine` are trained and the others stay fixed."""

    def __init__(self, model: tff.learning.models.FunctionalModel, mine: Sequence[int]):
        self._model, self.mine = model, mine
        trainable, non_trainable = model.initial_weights
        self.weights = tuple(trainable[i] for i in mine)
        self.initial_weights = (self.weights, non_trainable)
        for name in ("loss", "initialize_metrics_state", "update_metrics_state", "finalize_metrics", "task"):
            setattr(self, name, getattr(model, name))

    def whole(self, mine: Sequence[Any], others: Sequence[Any]) -> tuple:
        """Returns all trainable weights, in the model's order."""
        of_mine, of_others = iter(mine), iter(others)
        return tuple(next(of_mine if i in self.mine else of_others) for i in range(len(self._model.initial_weights[0])))

    def predict_on_batch(self, weights: Any, x: Any, training: bool = True) -> Any:
        """Returns the outputs. `weights`: mine, and (the others, the non-trainable weights)."""
        mine, (others, non_trainable) = weights
        return self._model.predict_on_batch((self.whole(mine, others), non_trainable), x, training)
