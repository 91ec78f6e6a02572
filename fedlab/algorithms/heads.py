"""Divides a model into the layers that clients share and those that each client keeps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fedlab.algorithms.base import Parts
from fedlab.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    import tensorflow_federated as tff


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

    def of(self, whole: Sequence[Any]) -> tuple:
        """Returns mine of all trainable weights."""
        return tuple(whole[i] for i in self.mine)

    def predict_on_batch(self, weights: Any, x: Any, training: bool = True) -> Any:
        """Returns the outputs. `weights`: mine, and (the others, the non-trainable weights)."""
        mine, (others, non_trainable) = weights
        return self._model.predict_on_batch((self.whole(mine, others), non_trainable), x, training)


def halves(parts: Parts, head: Sequence[str] | None) -> tuple[Half, Half]:
    """Returns the body and the head of the model.

    `head`: names of the head's layers; None: the last layer with weights. Raises `ConfigError` for layers that the model does not
    have, and for a head of all layers.
    """
    assert parts.keras is not None, "a classifier"
    layers = [layer for layer in parts.keras.layers if layer.trainable_variables]
    names = [layer.name for layer in layers]
    chosen = tuple(names[-1:]) if head is None else tuple(head)
    for name in chosen:
        if name not in names:
            raise ConfigError(f"process.head={name} is no layer with weights: {', '.join(names)}.{did_you_mean(name, names)}")
    if len(set(chosen)) == len(names):
        raise ConfigError(f"process.head={', '.join(chosen)} leaves no layer for clients to share: use process=local_only.")
    own = {v.ref() for layer in layers if layer.name in chosen for v in layer.trainable_variables}
    is_head = [v.ref() in own for v in parts.keras.trainable_variables]
    places = range(len(is_head))
    return Half(parts.model, [i for i in places if not is_head[i]]), Half(parts.model, [i for i in places if is_head[i]])
