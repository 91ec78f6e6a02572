"""Cuts a Keras model into independent parts: each is a pure function of its own weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fedlab.algorithms.split import Split
from fedlab.errors import ConfigError, did_you_mean, one_line
from fedlab.models.checks import check_plain
from fedlab.models.functional import bare_model, keras_weights, try_out
from fedlab.models.lifting import Applied, built, copier, listed, network


@dataclasses.dataclass(frozen=True)
class Part:
    """Consecutive layers as a function of their weights: float32 [n, *input_shape] → [n, *output_shape]."""

    model: tff.learning.models.FunctionalModel
    trainable: tuple[np.ndarray, ...]  # initial weights
    non_trainable: tuple[np.ndarray, ...]
    positions: tuple[int, ...]  # of its weights, trainable first, within the whole model's
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    last_layer: str


def cut_model(model: tf.keras.Model, process: Split) -> list[Part]:
    """Returns [lower, upper], or [lower, middle, top] if clients keep the labels. Raises `ConfigError` for an impossible cut."""
    try:
        layers = [layer for layer in model.layers if not isinstance(layer, tf.keras.layers.InputLayer)]
        model.layers[0].output  # noqa: B018  (raises if the model is no graph of layers)
    except (AttributeError, RuntimeError, IndexError) as error:
        raise ConfigError("process=split cuts Sequential and functional Keras models, and this model is neither.") from error
    names = [layer.name for layer in layers]
    u_shaped = process.labels == "client"
    if len(names) < (3 if u_shaped else 2):
        raise ConfigError(f"a model of {len(names)} layer(s) ({', '.join(names)}) cannot be cut so: use a deeper one.")
    first = next((i for i, layer in enumerate(layers) if layer.weights), 0) if u_shaped else len(names) - 2
    cuts = [_position("cut", process.cut, names, first)]
    if u_shaped:
        cuts.append(_position("cut_top", process.cut_top, names, len(names) - 2))
        if cuts[0] >= cuts[1]:
            raise ConfigError(
                f"process.cut={names[cuts[0]]} has to come before process.cut_top={names[cuts[1]]}, so that the server holds a "
                f"layer: {', '.join(names)}."
            )
    tensors = [model.inputs[0], *(layers[i].output for i in cuts), model.outputs[0]]
    ends = [*(names[i] for i in cuts), names[-1]]
    parts = [_part(model, a, b, name) for a, b, name in zip(tensors, tensors[1:], ends)]
    if sorted(p for part in parts for p in part.positions) != list(range(len(model.weights))):
        raise ConfigError("this model shares weights across the cut: cut it elsewhere with process.cut.")
    return parts


def _position(option: str, wanted: Any, names: Sequence[str], default: int) -> int:
    """Returns the position of the layer before the cut, never the last layer."""
    if wanted is None:
        return default
    if wanted not in names[:-1]:
        why = "is the last layer, after which nothing is left" if wanted in names else "is no layer of this model"
        raise ConfigError(f"process.{option}={wanted} {why}. Layers: {', '.join(names)}.{did_you_mean(wanted, names[:-1])}")
    return names.index(wanted)


def _part(model: tf.keras.Model, begin: Any, end: Any, last_layer: str) -> Part:
    """Returns a copy of the layers from the tensor `begin` to the tensor `end`, without references to `model`."""
    try:
        stretch = tf.keras.Model(begin, end)
    except ValueError as error:
        raise ConfigError(f"process.cut: more than one tensor crosses the cut at {last_layer}: cut elsewhere.") from error
    if not stretch.trainable_variables:
        raise ConfigError(
            f"process.cut: the layers up to {last_layer} have no weights to train, and would hand on what they are given: cut "
            f"elsewhere, or use a deeper model. Layers: {', '.join(layer.name for layer in model.layers)}."
        )
    place = {v.ref(): i for i, v in enumerate(listed(model))}
    positions = tuple(place[v.ref()] for v in listed(stretch))
    spec = (tf.TensorSpec(begin.shape, tf.float32), tf.TensorSpec([None], tf.int32))
    try:
        build, weights = copier(stretch), keras_weights(stretch)
        copy, order = built(build)
        lifted = network(build, copy, order, lambda candidate: try_out(candidate, spec[0], _check_part))
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"process.cut: the layers up to {last_layer} cannot be taken apart: {one_line(error)}") from error
    return Part(
        bare_model(lifted, weights, _no_loss, spec), *weights, positions, tuple(begin.shape[1:]), tuple(end.shape[1:]), last_layer
    )


def _check_part(applied: Applied) -> None:
    check_plain(applied, "process=split")


def _no_loss(output: tf.Tensor, label: tf.Tensor, sample_weight: None = None) -> tf.Tensor:
    del label, sample_weight  # a part has no labels, but TFF requires a loss
    return tf.reduce_mean(output)
