"""Any Keras model as a function of its weights: it is built once more, with tensors in the places of its variables.

Which tensor belongs where is told by the identity of variables. Keras lists weights as layers are called, and creates them as
they are built; the two orders differ, and neither values nor shapes tell two layer normalizations apart.
"""

from __future__ import annotations

import contextlib
import dataclasses
import random
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from fedlab.errors import ConfigError, FedlabError, one_line

KerasBuilder = Callable[[], tf.keras.Model]
Inspect = Callable[[tf.keras.Model, Any], None]  # of a model and its output, both of a graph

_NAMED = re.compile(r"\s*(\w+\.)*\w*(Error|Exception|NotRebuilt|Interrupt): ")  # a line that ends a call stack


class NotRebuilt(Exception):
    """Another build of the model does not create the weights of the first."""


@dataclasses.dataclass(frozen=True)
class Network:
    """A builder, the Keras model that it gave, and `order`: of each weight, as they are created, the place in `listed(model)`."""

    build: KerasBuilder
    model: tf.keras.Model
    order: tuple[int, ...]

    def __call__(self, weights: Sequence[Any], x: Any, training: Any, inspect: Inspect | None = None) -> Any:
        """The model's output, in a graph; `weights` as `listed` gives them. Raises `NotRebuilt`."""
        left = [weights[place] for place in self.order]

        def stand_in(_: Callable, **options: Any) -> Any:
            if not left:
                raise NotRebuilt("it has more weights than before")
            shape = options.get("shape")
            if shape is not None and not tf.TensorShape(shape).is_compatible_with(left[0].shape):
                raise NotRebuilt(f"{options.get('name')} has shape {tuple(shape)}, and had {tuple(left[0].shape)}")
            return left.pop(0)

        with _classes_as_they_are(self.model):
            with tf.variable_creator_scope(stand_in):
                model = self.build()
            if left:
                raise NotRebuilt("it has fewer weights than before")
            place = {id(tensor): i for i, tensor in enumerate(weights)}
            found = [place[id(tensor)] for tensor in listed(model) if id(tensor) in place]
            if found != sorted(found):
                raise NotRebuilt("its layers come in another order")
            with tf.variable_creator_scope(_refuse_weight):
                output = model(x, training=training)
            if inspect is not None:
                inspect(model, output)
            return output

    def predictor(self, inspect: Inspect | None = None) -> Any:
        """`(weights, x, training)` → output, as TFF's functional models have it; weights are (trainable, not trainable)."""

        @tf.function
        def predict_on_batch(model_weights: Any, x: Any, training: bool = True) -> Any:
            return self([*model_weights[0], *model_weights[1]], x, training, inspect)

        return predict_on_batch


def _refuse_weight(_: Callable, **options: Any) -> Any:
    raise NotRebuilt(f"it makes the weight {options.get('name')} when it is called: make all of them when it is built")


@contextlib.contextmanager
def _classes_as_they_are(model: tf.keras.Model) -> Iterator[None]:
    """Undoes what building a model in a graph does to all others: Keras exchanges the base classes of their classes.

    Then models that were built before, or are read from a file later, are "in an invalid state".
    """
    bases = {c: c.__bases__ for part in parts(model) for c in type(part).__mro__ if issubclass(c, tf.Module)}
    try:
        yield
    finally:
        for c, own in bases.items():
            if c.__bases__ != own:
                c.__bases__ = own


def parts(layer: tf.keras.layers.Layer) -> list[tf.Module]:
    """The layer, or model, and all layers and modules in it.

    By Keras' own walk: that of `tf.Module` sorts the keys of every mapping that it meets, and fails at recurrent layers with
    dropout, which keep masks by graph.
    """
    found = list(layer._flatten_modules())
    return [*found, *(m for part in found if not isinstance(part, tf.keras.layers.Layer) for m in part.submodules)]


def listed(model: tf.keras.Model) -> list:
    """The model's weights in Keras's order, trainable first."""
    return [*model.trainable_variables, *model.non_trainable_variables]


def seeded(build: KerasBuilder, seed: int) -> KerasBuilder:
    """`build` with initial weights that depend on `seed` alone (an integer in [0, 2^32))."""

    def build_seeded() -> tf.keras.Model:
        states = random.getstate(), np.random.get_state()
        try:
            tf.keras.utils.set_random_seed(seed)  # Keras' initializers offer no other handle
            return build()
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])

    return build_seeded


def built(build: KerasBuilder) -> tuple[tf.keras.Model, tuple[int, ...]]:
    """A model that is built now, and the places in `listed(model)` of its weights, in order of creation.

    They are fewer than its weights where some were made before, as those of a model that was loaded once. Raises `ConfigError`
    for what is no model, or has no weights yet.
    """
    created: list[Any] = []

    def record(create: Callable, **options: Any) -> tf.Variable:
        created.append(create(**options))
        return created[-1]

    with tf.variable_creator_scope(record):
        model = build()
    if not isinstance(model, tf.keras.Model):
        given = "None: does it end in `return`?" if model is None else f"a {type(model).__name__}."
        raise ConfigError(f"the model's function should return a tf.keras.Model, and returns {given}")
    if not model.built:
        if isinstance(model, tf.keras.Sequential):
            remedy = "begin it with tf.keras.layers.InputLayer(input_shape)"
        else:
            remedy = "call model.build((None, *input_shape)) before it is returned"
        raise ConfigError(f"the model, a {type(model).__name__}, has no weights yet: {remedy}.")
    place = {id(variable): i for i, variable in enumerate(listed(model))}
    return model, tuple(place[id(variable)] for variable in created if id(variable) in place)


def copier(model: tf.keras.Model) -> KerasBuilder:
    """Builds copies of a Sequential or functional model, whose layers nothing links to those of `model`."""
    kind, config = type(model), model.get_config()
    own_classes = {type(layer).__name__: type(layer) for layer in parts(model) if isinstance(layer, tf.keras.layers.Layer)}

    def copy() -> tf.keras.Model:
        with tf.keras.utils.custom_object_scope(own_classes):
            return kind.from_config(config)

    return copy


def network(build: KerasBuilder, model: tf.keras.Model, order: tuple[int, ...], try_out: Callable[[Network], None]) -> Network:
    """`model` as a function of its weights; `model` and `order` as `built(build)` gives them. `try_out` calls it in a graph.

    A builder that reads weights from a file, or returns the same model each time, cannot be run in a graph: then it is a copy of
    its model that is built there. Raises `ConfigError` where neither will do.
    """
    problems = []
    for attempt in (lambda: Network(build, model, order), lambda: _copied(model)):
        try:
            found = attempt()
            if sorted(found.order) != list(range(len(listed(model)))):
                raise NotRebuilt("each call of its function must make all of its weights anew")
            try_out(found)
            return found
        except FedlabError:
            raise
        except Exception as error:  # a user's own code, or Keras, in a graph
            problems.append(_reason(error))
    of_copy = "" if problems[0] == problems[1] else f" (a copy of the model that it returns cannot either: {problems[1]})"
    raise ConfigError(f"this Keras model cannot be used in a federated process: {problems[0]}{of_copy}.")


def _copied(model: tf.keras.Model) -> Network:
    """A copy in place of `model`; its own initial values count for nothing."""
    if not isinstance(model, tf.keras.Sequential) and not hasattr(model, "_nested_inputs"):
        raise NotRebuilt("only Sequential and functional models can be copied")
    copy = copier(model)
    twin, order = built(copy)
    if [v.shape for v in listed(twin)] != [v.shape for v in listed(model)]:
        raise NotRebuilt("a copy has other weights")
    return Network(copy, model, order)


def _reason(error: Exception) -> str:
    """What went wrong, without the call stack that TensorFlow writes into the messages of errors in a graph."""
    told = str(error)
    if "has no attribute 'assign" in told:
        return "its function, or a layer that is called, assigns to a weight"
    named = [line.strip() for line in told.splitlines() if _NAMED.match(line)] if told.startswith("in user code:") else []
    if not named and not isinstance(error, NotRebuilt):
        named = [f"{type(error).__name__}: {told}"]
    return one_line(Exception(named[-1] if named else told)).rstrip(".")
