"""Copies saved weights into a model, layer by layer, and freezes layers."""

from __future__ import annotations

import collections
import dataclasses
import fnmatch
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from fedlab.errors import ConfigError, did_you_mean
from fedlab.models.lifting import assign, listed

_MOST_SHOWN = 12  # layers in an error or a line


@dataclasses.dataclass(frozen=True)
class Group:
    """A layer with its weights. `path`: the nested models around it, and its name; `layer`: None for a model's own weights."""

    path: tuple[str, ...]
    weights: tuple[Any, ...]
    layer: tf.keras.layers.Layer | None

    @property
    def named(self) -> dict[str, Any]:
        """Returns the weights by their names inside the layer, such as kernel; by position if names repeat."""
        names = [_inside(weight.name.partition(":")[0], self.path[-1]) for weight in self.weights]
        if len(set(names)) < len(names):
            names = [str(position) for position in range(len(names))]
        return dict(zip(names, self.weights))


def groups_of(model: tf.keras.Model) -> dict[str, Group]:
    """Returns the innermost layers that have weights, by name. A name that is not unique is replaced by the path, a/b."""
    found = list(_innermost(model, ()))
    covered = {id(weight) for group in found for weight in group.weights}
    own = tuple(weight for weight in listed(model) if id(weight) not in covered)
    found += [Group((model.name,), own, None)] if own else []
    times = collections.Counter(group.path[-1] for group in found)
    return {group.path[-1] if times[group.path[-1]] == 1 else "/".join(group.path): group for group in found}


def _innermost(model: tf.keras.Model, path: tuple[str, ...]) -> Iterator[Group]:
    seen: set[int] = set()
    for layer in model.layers:
        if id(layer) in seen:
            continue
        seen.add(id(layer))
        if isinstance(layer, tf.keras.Model):
            yield from _innermost(layer, (*path, layer.name))
        elif layer.weights:
            yield Group((*path, layer.name), tuple(layer.weights), layer)


def _inside(name: str, layer: str) -> str:
    """Returns the part of a weight's name after that of its layer."""
    return f"/{name}".rpartition(f"/{layer}/")[2].lstrip("/")


class Saved:
    """The weights of a saved model. `where`: its file, for errors."""

    def __init__(self, where: str, layers: Mapping[str, Mapping[str, np.ndarray]]):
        self.where, self._layers = where, layers

    @property
    def names(self) -> list[str]:
        """Returns the names of the layers."""
        return list(self._layers)

    def layer(self, name: str) -> Mapping[str, np.ndarray] | None:
        """Returns the arrays of a layer by their names inside it; None if there is no such layer."""
        return self._layers.get(name)


class SavedArrays(Saved):
    """Arrays by the names of weights, such as dense/kernel or dense/kernel:0."""

    def __init__(self, where: str, arrays: Mapping[str, np.ndarray]):
        self._arrays = {name.partition(":")[0]: array for name, array in arrays.items()}
        super().__init__(where, {name.rpartition("/")[0]: {} for name in self._arrays})

    def layer(self, name: str) -> Mapping[str, np.ndarray] | None:
        found = {name_: array for name_, array in self._arrays.items() if f"/{name}/" in f"/{name_}"}
        return {_inside(name_, name): array for name_, array in found.items()} or None


def saved_model(where: str, model: tf.keras.Model) -> Saved:
    """Returns the weights of a Keras model."""
    layers = {name: {key: w.numpy() for key, w in group.named.items()} for name, group in groups_of(model).items()}
    return Saved(where, layers)


class Started:
    """A function that builds a model, whose models start from saved weights and have frozen layers.

    `layers`: names or patterns (fnmatch) of the layers to take; None: all that `saved` has. `frozen`: of the layers that are not
    trained. `taken`, `fresh` and `fixed` list the layers of the newest model, once it is built.
    """

    def __init__(
        self, build: Callable[..., Any], saved: Saved | None, layers: Sequence[str] | None = None, frozen: Sequence[str] = ()
    ):
        self._build, self._saved, self._layers, self._frozen = build, saved, layers, frozen
        self.taken: list[str] = []
        self.fresh: list[str] = []
        self.fixed: list[str] = []

    def __call__(self, input_shape: tuple[int, ...], num_outputs: int) -> Any:
        """Builds the model. Raises `ConfigError` for layers that do not exist or do not fit."""
        model = self._build(input_shape, num_outputs)
        if not isinstance(model, tf.keras.Model) or not model.built:
            return model  # the caller refuses it
        groups = groups_of(model)
        self.fixed = _chosen("init.freeze", self._frozen, groups)
        # Before layers are frozen, which changes the order of weights
        if self._saved is not None and tf.executing_eagerly():  # in a graph, other values replace the weights
            self._take(self._saved, model, groups)
        for name in self.fixed:
            layer = groups[name].layer
            if layer is None:
                raise ConfigError(f"init.freeze: {name} is the model's own weights, not those of a layer: freeze its layers.")
            layer.trainable = False
        return model

    def _take(self, saved: Saved, model: tf.keras.Model, groups: Mapping[str, Group]) -> None:
        wanted = list(groups) if self._layers is None else _chosen("init.layers", self._layers, groups)
        values = {id(weight): weight.numpy() for weight in listed(model)}
        self.taken = []
        for name in wanted:
            arrays = saved.layer(name)
            if arrays is None:
                if name in (self._layers or ()):
                    raise ConfigError(f"init.layers: {saved.where} has no layer {name}. {_listed(saved.names, name)}")
                continue
            values.update(_matched(saved, name, arrays, groups[name]))
            self.taken.append(name)
        if not self.taken:
            among = "" if self._layers is None else " that init.layers names"
            raise ConfigError(
                f"init.from: {saved.where} has no layer of this model{among}. {_listed(saved.names)} The model's: "
                f"{shown(list(groups))}."
            )
        self.fresh = [name for name in groups if name not in self.taken]
        assign(model, [values[id(weight)] for weight in listed(model)])


def _chosen(option: str, patterns: Sequence[str], groups: Mapping[str, Group]) -> list[str]:
    """Returns the layers that match a pattern, in the model's order. Raises `ConfigError` for a pattern without a match."""

    def matches(pattern: str, name: str) -> bool:
        return any(fnmatch.fnmatchcase(text, pattern) for text in (name, "/".join(groups[name].path)))

    for pattern in patterns:
        if not any(matches(pattern, name) for name in groups):
            raise ConfigError(f"{option}: the model has no layer {pattern} with weights. {_listed(list(groups), pattern)}")
    return [name for name in groups if any(matches(pattern, name) for pattern in patterns)]


def _matched(saved: Saved, name: str, arrays: Mapping[str, np.ndarray], group: Group) -> dict[int, np.ndarray]:
    """Returns the new value of each weight of a layer, by identity. Raises `ConfigError` unless all of them fit."""
    own = group.named
    if set(arrays) != set(own):
        if len(arrays) != len(own) or isinstance(saved, SavedArrays):
            raise ConfigError(
                f"init.from: layer {name} of {saved.where} has the weights {', '.join(arrays)}, and that of this model "
                f"{', '.join(own)}: {_LEAVE_OUT}"
            )
        arrays = dict(zip(own, arrays.values()))
    found = {}
    for key, weight in own.items():
        array, needed = np.asarray(arrays[key]), tuple(weight.shape)
        if array.shape != needed:
            raise ConfigError(
                f"init.from: {key} of layer {name} has shape {list(array.shape)} in {saved.where}, and this model needs "
                f"{list(needed)}: {_LEAVE_OUT}"
            )
        dtype = weight.dtype.as_numpy_dtype
        if array.dtype.kind not in "fiub" or (np.dtype(dtype).kind in "iu" and array.dtype.kind == "f"):
            raise ConfigError(
                f"init.from: {key} of layer {name} is {array.dtype} in {saved.where}, and this model needs {weight.dtype.name}."
            )
        value = array.astype(dtype)
        if not np.isfinite(value).all():
            raise ConfigError(f"init.from: {key} of layer {name} in {saved.where} has values that are not finite.")
        found[id(weight)] = value
    return found


_LEAVE_OUT = "list the layers to take in init.layers, without this one."


def _listed(names: Sequence[str], wanted: str = "") -> str:
    return f"Its layers: {shown(names)}.{did_you_mean(wanted, names) if wanted else ''}"


def shown(names: Sequence[str]) -> str:
    """Returns names of layers as one text, the first of many."""
    more = len(names) - _MOST_SHOWN
    return ", ".join(names[:_MOST_SHOWN]) + (f" and {more} more" if more > 0 else "") or "none"
