"""The parts of a Keras model's training step beyond its output: batch statistics, losses of layers' own, constraints."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from fedlab.errors import ConfigError
from fedlab.models.lifting import Applied, Network, NotRebuilt, holding, listed

Constraint = Callable[[tf.Tensor], tf.Tensor]


@dataclasses.dataclass(frozen=True)
class Extras:
    """The extras of a model's training step.

    `statistics`: the positions, among the non-trainable weights, of those that a step changes, such as the moving averages of
    batch normalization. `has_losses`: whether layers add losses. `constraints`: a projection, or None, per trainable weight.
    """

    statistics: tuple[int, ...] = ()
    has_losses: bool = False
    constraints: tuple[Constraint | None, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.statistics) or self.has_losses

    @classmethod
    def of(cls, applied: Applied, model: tf.keras.Model) -> Extras:
        """Returns the extras of `model`, given a call of its lifted form for training. Raises `ConfigError`."""
        variables, count = listed(model), len(model.trainable_variables)
        places = [place for place, _ in applied.written]
        for place, value in applied.written:
            name = variables[place].name.partition(":")[0]
            if place < count:
                raise ConfigError(f"a layer assigns to its trainable weight {name} when it is called: leave it out.")
            if variables[place].dtype != tf.float32:
                raise ConfigError(
                    f"a training step changes the weight {name} of {variables[place].dtype.name}: only float32 weights can be "
                    "averaged over clients."
                )
            if places.count(place) > 1:
                raise ConfigError(
                    f"a step changes {name} more than once, because its layer is called more than once: use a layer per call."
                )
            if value.graph is not applied.output.graph:
                raise ConfigError(f"the weight {name} is changed inside of a loop or a branch: use its layer outside of it.")
        statistics = tuple(sorted(place - count for place in places))
        constraints = tuple(getattr(variable, "constraint", None) for variable in model.trainable_variables)
        return cls(statistics, bool(applied.losses), constraints if any(constraints) else ())


def picked(positions: Sequence[int], weights: Sequence[Any]) -> tuple:
    """Returns the weights at these positions."""
    return tuple(weights[i] for i in positions)


def placed(positions: Sequence[int], weights: Sequence[Any], values: Sequence[Any]) -> tuple:
    """Returns the weights with `values` at these positions."""
    new = dict(zip(positions, values))
    return tuple(new.get(i, w) for i, w in enumerate(weights))


def fixed_bytes(statistics: Sequence[int], non_trainable: Sequence[Any]) -> int:
    """Returns the bytes of the non-trainable weights that are no statistics, which never change."""
    return sum(np.asarray(w).nbytes for i, w in enumerate(non_trainable) if i not in statistics)


def stepper(network: Network, extras: Extras) -> Any:
    """Returns a graph function: (weights, x) → (output, new statistics, sum of layers' losses or 0), in training.

    `weights`: (trainable, non-trainable).
    """
    count = len(network.model.trainable_variables)

    @tf.function
    def step(weights: Any, x: Any) -> tuple:
        applied = network.applied([*weights[0], *weights[1]], x, True)
        values = dict(applied.written)
        losses = [tf.cast(loss, tf.float32) for loss in applied.losses]
        return applied.output, tuple(values[count + i] for i in extras.statistics), tf.add_n(losses) if losses else tf.zeros([])

    return step


def check_step(network: Network, extras: Extras, x: np.ndarray, values: Sequence[np.ndarray]) -> None:
    """Compares a training step of the lifted model with Keras', at the weights `values`, in the order of `listed`.

    Raises `NotRebuilt` if the statistics or the losses differ. A model that draws at random cannot be compared and passes.
    """
    model, count = network.model, len(network.model.trainable_variables)

    def of_keras() -> list[np.ndarray]:
        with holding(model, values):
            model(x, training=True)
            after = [variable.numpy() for variable in model.non_trainable_variables]
            return [*(after[i] for i in extras.statistics), np.float32(sum(float(loss) for loss in model.losses))]

    expected, again = of_keras(), of_keras()
    if not all(map(np.array_equal, expected, again)):
        return
    with tf.Graph().as_default():  # as in a process: outside of one, Keras would make generators of random numbers
        weights = [tf.compat.v1.placeholder(variable.dtype, variable.shape) for variable in listed(model)]
        _, *made = stepper(network, extras)((tuple(weights[:count]), tuple(weights[count:])), tf.constant(x))
        with tf.compat.v1.Session(config=tf.compat.v1.ConfigProto(device_count={"GPU": 0})) as session:
            statistics, penalty = session.run(made, dict(zip(weights, values)))
    for found, wanted in zip([*statistics, penalty], expected):
        if not np.allclose(found, wanted, rtol=1e-3, atol=1e-3 * np.abs(wanted).max() + 1e-6):
            raise NotRebuilt("another build of it has other batch statistics, or other losses of its layers")
