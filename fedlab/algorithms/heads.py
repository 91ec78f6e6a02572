"""Divides a model into the layers that clients share and those that each client keeps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from fedlab.algorithms.base import Parts
from fedlab.algorithms.client_work import local_training
from fedlab.algorithms.keeping import Keeping
from fedlab.errors import ConfigError, did_you_mean
from fedlab.models.training import fixed_bytes, picked, placed

if TYPE_CHECKING:
    from fedlab.models.functional import TaskModel


class Half:
    """A functional model that trains the weights at the positions `mine` of `TaskModel.trained`; the others stay fixed.

    Its non-trainable weights are (the other trainable weights, the model's non-trainable weights).
    """

    def __init__(self, model: TaskModel, mine: Sequence[int]):
        trainable, non_trainable = model.initial_weights
        self._model, self._count = model, len(trainable)
        self.mine = tuple(sorted(mine))
        self.trained = self.of(model.trained)
        self.initial_weights = (tuple(trainable[i] for i in self.mine if i < self._count), non_trainable)
        self.statistics = tuple(model.statistics[i - self._count] for i in self.mine if i >= self._count)
        self.fixed_bytes = fixed_bytes(self.statistics, non_trainable)
        own = (model.constraints[i] for i in self.mine if i < self._count) if model.constraints else ()
        self.constraints = tuple(own)
        for name in ("loss", "initialize_metrics_state", "update_metrics_state", "finalize_metrics", "task"):
            setattr(self, name, getattr(model, name))

    def whole(self, mine: Sequence[Any], others: Sequence[Any]) -> tuple:
        """Returns all trained weights, in the model's order; without statistics if both are trainable weights only."""
        of_mine, of_others = iter(mine), iter(others)
        return tuple(next(of_mine if i in self.mine else of_others) for i in range(len(mine) + len(others)))

    def of(self, whole: Sequence[Any]) -> tuple:
        """Returns mine of all trained weights."""
        return tuple(whole[i] for i in self.mine)

    def predict_on_batch(self, weights: Any, x: Any, training: bool = True) -> Any:
        """Returns the outputs. `weights`: mine, and (the others, the non-trainable weights)."""
        mine, (others, non_trainable) = weights
        return self._model.predict_on_batch((self.whole(mine, others), non_trainable), x, training)

    def forward(self, weights: Any, x: Any) -> tuple[Any, tuple, Any]:
        """Returns the output, my new statistics, and the losses of layers' own, as `TaskModel.forward`."""
        mine, (others, non_trainable) = weights
        output, statistics, penalty = self._model.forward((self.whole(mine, others), non_trainable), x)
        new = dict(zip(self._model.statistics, statistics))
        return output, tuple(new[i] for i in self.statistics), penalty

    def statistics_of(self, non_trainable: Any) -> tuple:
        """Returns my statistics."""
        return picked(self.statistics, non_trainable[1])

    def moved(self, non_trainable: Any, statistics: Sequence[Any]) -> tuple:
        """Returns the non-trainable weights with these statistics of mine."""
        return non_trainable[0], placed(self.statistics, non_trainable[1], statistics)


def divided(model: TaskModel, is_mine: Callable[[int], bool]) -> tuple[Half, Half]:
    """Returns the two halves of a model: the trained weights at the positions for which `is_mine` is False, and the others."""
    places = range(len(model.trained))
    return Half(model, [i for i in places if not is_mine(i)]), Half(model, [i for i in places if is_mine(i)])


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
    own = {v.ref() for layer in layers if layer.name in chosen for v in layer.variables}
    variables = trained_variables(parts)
    return divided(parts.model, lambda i: variables[i].ref() in own)


def keeping(parts: Parts, sent: Half, kept: Half) -> Keeping:
    """Returns the client step that trains the whole model, sends `sent`, and keeps `kept`."""
    train = local_training(parts.model, parts.client_optimizer.build(), parts.client)

    def update(shared: Any, fixed: Any, data: Any, factor: Any, mine: Any, _: Any) -> tuple:
        received = (*shared, *picked(sent.statistics, fixed))
        trainable, fixed = parts.model.divided(sent.whole(received, mine), fixed)
        delta, metrics = train(trainable, fixed, data, factor)
        return sent.of(delta), metrics, tuple(w - d for w, d in zip(mine, kept.of(delta))), ()

    return Keeping(kept.trained, update, model=sent, own_model=sent.whole)


def trained_variables(parts: Parts) -> list:
    """Returns the Keras variables of `TaskModel.trained`, in its order."""
    assert parts.keras is not None, "a Keras model"
    others = parts.keras.non_trainable_variables
    return [*parts.keras.trainable_variables, *(others[i] for i in parts.model.statistics)]
