"""Lifts any Keras model to a function of its weights: builds it again with tensors instead of variables.

Tensors are assigned to weights by the identity of variables. Keras lists weights in the order in which layers are called and
creates them in the order in which they are built; these orders differ, and neither values nor shapes distinguish two layer
normalizations.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import random
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from unittest import mock

import numpy as np
import tensorflow as tf
from keras.src.mixed_precision import autocast_variable

from fedlab.errors import ConfigError, FedlabError, first_sentence
from fedlab.models.recurrence import fast_recurrence

KerasBuilder = Callable[[], tf.keras.Model]
Inspect = Callable[["Applied"], None]

_NAMED = re.compile(r"\s*(\w+\.)*\w*(Error|Exception|NotRebuilt|Interrupt): ")  # a line that ends a call stack

_FROM_OUTSIDE = "it reads a tf.Variable, or a table, that was made outside of its function: make weights by a layer's add_weight"


class NotRebuilt(Exception):
    """A second build of the model does not create the same weights as the first."""


class RunsWhenBuilt(Exception):
    """A part of the model that has an effect, such as a draw in a branch, computes with the placeholder from its construction."""

    def __str__(self) -> str:
        return "a part of it computes with the input from its construction"


@dataclasses.dataclass(frozen=True)
class Applied:
    """A call of a model that was built in a graph."""

    model: tf.keras.Model
    output: Any
    # (position of a weight in the order of `listed`, its new value): the assignments to weights during the call, in their order
    written: Sequence[tuple[int, tf.Tensor]]
    constructed: Sequence[Any]  # losses that layers have added during the construction

    @property
    def losses(self) -> list:
        """Returns the losses that layers add in a call: of regularizers, and of `add_loss`."""
        others = set(map(id, self.constructed))
        return [loss for loss in self.model.losses if id(loss) not in others]


@dataclasses.dataclass(frozen=True)
class Network:
    """A builder, the Keras model that it built, and `order`: each weight's position in `listed(model)`, in order of creation.

    `aside`: the model is built in a graph of its own, so that no part of its construction runs. Recurrent layers with dropout and
    `RandomCrop` need it. The other models are built in the graph that calls them, where layers may keep tensors.
    """

    build: KerasBuilder
    model: tf.keras.Model
    order: tuple[int, ...]
    aside: bool = False

    def __call__(self, weights: Sequence[Any], x: Any, training: Any, inspect: Inspect | None = None) -> Any:
        """Returns the model's output, in a graph. `weights`: in the order of `listed`. Raises `NotRebuilt`."""
        applied = self.applied(weights, x, training)
        if inspect is not None:
            inspect(applied)
        return applied.output

    def applied(self, weights: Sequence[Any], x: Any, training: Any) -> Applied:
        """Builds the model in a graph and calls it. `weights`: in the order of `listed`. Raises `NotRebuilt`."""
        left = [weights[place] for place in self.order]

        def stand_in(_: Callable, **options: Any) -> Any:
            if not left:
                raise NotRebuilt("it has more weights than before")
            shape = options.get("shape")
            if shape is not None and not tf.TensorShape(shape).is_compatible_with(left[0].shape):
                raise NotRebuilt(f"{options.get('name')} has shape {tuple(shape)}, and had {tuple(left[0].shape)}")
            return left.pop(0)

        with _quiet(), _classes_as_they_are(self.model), _same_draws(0), _casting(), _assignable(weights) as written:
            with tf.variable_creator_scope(stand_in), _other_graph() if self.aside else contextlib.nullcontext():
                model = self.build()
            if self.aside:
                _normalize_here(model)
            if left:
                raise NotRebuilt("it has fewer weights than before")
            place = {id(tensor): i for i, tensor in enumerate(weights)}
            found = [place[id(tensor)] for tensor in listed(model) if id(tensor) in place]
            if found != sorted(found):
                raise NotRebuilt("its layers come in another order")
            written.clear()  # of calls during the construction
            constructed = list(model.losses)
            with tf.variable_creator_scope(_refuse_weight), fast_recurrence(parts(model)):
                output = model(x, training=training)
            return Applied(model, output, written, constructed)

    def predictor(self, inspect: Inspect | None = None) -> Any:
        """Returns `(weights, x, training)` → output, as in TFF's functional models; weights are (trainable, non-trainable)."""

        @tf.function
        def predict_on_batch(model_weights: Any, x: Any, training: bool = True) -> Any:
            return self([*model_weights[0], *model_weights[1]], x, training, inspect)

        return predict_on_batch


def _other_graph() -> contextlib.AbstractContextManager:
    return tf.__internal__.FuncGraph("construction").as_default()


def _normalize_here(model: tf.keras.Model) -> None:
    """Computes the tensors that `Normalization` keeps from its construction again, in the current graph."""
    for layer in parts(model):
        if isinstance(layer, tf.keras.layers.Normalization):
            if layer.input_mean is None:
                layer.finalize_state()
            else:
                layer.build(layer._build_input_shape)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hides warnings of TensorFlow within the context: Keras calls its deprecated functions to assign in a graph."""
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


class _Cast(autocast_variable.AutoCastVariable):
    """A weight's tensor in a layer of mixed precision, cast where the layer reads it. Keras' own class wraps variables only."""

    def __init__(self, tensor: tf.Tensor):
        self._variable, self._op = tensor, "delegate"

    trainable = True  # whether the layer trains it, its own lists say

    def value(self) -> tf.Tensor:
        return self._dense_var_to_tensor()

    read_value = value

    def sparse_read(self, indices: Any, name: str | None = None) -> tf.Tensor:
        return tf.gather(self.value(), indices, name=name)


def _casting() -> contextlib.AbstractContextManager:
    """Lets layers of mixed precision cast tensors instead of variables, within the context."""
    return mock.patch.object(autocast_variable, "create_autocast_variable", _Cast)


@contextlib.contextmanager
def _assignable(weights: Sequence[Any]) -> Iterator[list[tuple[int, tf.Tensor]]]:
    """Gives the tensors `weights` the methods by which layers assign to variables; each assignment is added to the list.

    The tensors themselves keep their values: a layer that reads a weight after it has assigned to it reads the old value.
    """
    written: list[tuple[int, tf.Tensor]] = []

    def methods(position: int, weight: Any) -> dict[str, Callable]:
        def assign(value: Any, *_: Any, **options: Any) -> tf.Tensor:
            written.append((position, tf.cast(value, weight.dtype)))
            return written[-1][1]

        return {
            "assign": assign,
            "assign_add": lambda delta, *_, **options: assign(weight + delta),
            "assign_sub": lambda delta, *_, **options: assign(weight - delta),
        }

    given = [(weight, name, method) for i, weight in enumerate(weights) for name, method in methods(i, weight).items()]
    try:
        for weight, name, method in given:
            setattr(weight, name, method)
        yield written
    finally:
        for weight, name, _ in given:
            delattr(weight, name)


def _refuse_weight(_: Callable, **options: Any) -> Any:
    raise NotRebuilt(f"it makes the weight {options.get('name')} when it is called: make all of them when it is built")


@contextlib.contextmanager
def _classes_as_they_are(model: tf.keras.Model) -> Iterator[None]:
    """Undoes a side effect of building a model in a graph: Keras changes the base classes of the classes of all models.

    Otherwise models that were built before, or are loaded later, are "in an invalid state".
    """
    bases = {c: c.__bases__ for part in parts(model) for c in type(part).__mro__ if issubclass(c, tf.Module)}
    try:
        yield
    finally:
        for c, own in bases.items():
            if c.__bases__ != own:
                c.__bases__ = own


def parts(layer: tf.keras.layers.Layer) -> list[tf.Module]:
    """Returns the layer, or model, and all layers and modules in it.

    Uses Keras' own traversal: that of `tf.Module` sorts the keys of every mapping and fails for recurrent layers with dropout,
    which store masks by graph.
    """
    found = list(layer._flatten_modules())
    return [*found, *(m for part in found if not isinstance(part, tf.keras.layers.Layer) for m in part.submodules)]


def listed(model: tf.keras.Model) -> list:
    """Returns the model's weights in Keras' order, trainable first. Those of mixed precision are the ones that it casts."""
    weights = [*model.trainable_variables, *model.non_trainable_variables]
    return [w._variable if isinstance(w, autocast_variable.AutoCastVariable) else w for w in weights]


@contextlib.contextmanager
def holding(model: tf.keras.Model, values: Sequence[np.ndarray]) -> Iterator[None]:
    """Sets the model's weights, in the order of `listed`, within the context, and restores its own afterwards."""
    own = [variable.numpy() for variable in listed(model)]
    try:
        assign(model, values)
        yield
    finally:
        assign(model, own)


def assign(model: tf.keras.Model, values: Sequence[np.ndarray]) -> None:
    """Sets the model's weights, in the order of `listed`."""
    for variable, value in zip(listed(model), values):
        variable.assign(value)
    for layer in parts(model):
        if isinstance(layer, tf.keras.layers.Normalization):  # it computes with copies of its weights
            layer.finalize_state()


def seeded(build: KerasBuilder, seed: int) -> KerasBuilder:
    """Returns `build` with initial weights that depend only on `seed` (an integer in [0, 2^32))."""

    def build_seeded() -> tf.keras.Model:
        with _same_draws(seed):
            tf.keras.utils.set_random_seed(seed)  # Keras' initializers have no other option
            return build()

    return build_seeded


@contextlib.contextmanager
def _same_draws(seed: int) -> Iterator[None]:
    """Seeds the global generators of Python and NumPy within the context. In a graph, a layer's draws from them are constants."""
    states = random.getstate(), np.random.get_state()
    try:
        random.seed(seed)
        np.random.seed(seed)
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


def check_initial_weights(build: KerasBuilder, model: tf.keras.Model) -> None:
    """Raises `ConfigError` unless a builder from `seeded` gives the initial weights of `model`, which it has built, again."""
    again = built(build)[0]
    if not all(np.array_equal(a.numpy(), b.numpy(), equal_nan=True) for a, b in zip(listed(model), listed(again))):
        raise ConfigError(
            "the model's function gives other initial weights each time, so the run could not be repeated: draw them by Keras' "
            "initializers without a seed that changes, or from the global generators of NumPy or Python, which are seeded for it."
        )


def built(build: KerasBuilder) -> tuple[tf.keras.Model, tuple[int, ...]]:
    """Builds a model, and returns it with the positions in `listed(model)` of its weights, in order of creation.

    There are fewer positions than weights if some weights existed before, as in a model that was loaded once. Raises
    `ConfigError` for an object that is no model, or has no weights yet.
    """
    model, created = _recorded(build)
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
    """Returns a builder of copies of a Sequential or functional model, which share no layers with `model`."""
    kind, config = type(model), model.get_config()
    own_classes = {type(layer).__name__: type(layer) for layer in parts(model) if isinstance(layer, tf.keras.layers.Layer)}

    def copy() -> tf.keras.Model:
        with tf.keras.utils.custom_object_scope(own_classes):
            return kind.from_config(config)

    return copy


def network(build: KerasBuilder, model: tf.keras.Model, order: tuple[int, ...], try_out: Callable[[Network], None]) -> Network:
    """Returns `model` as a function of its weights. `model`, `order`: from `built(build)`. `try_out` calls it in a graph.

    A builder that reads weights from a file, or returns the same model each time, cannot run in a graph: then a copy of its model
    is built there. Raises `ConfigError` if neither works.
    """
    problems, failed = [], []
    for attempt in (lambda: Network(build, model, order), lambda: _copied(model)):
        try:
            found = attempt()
            if sorted(found.order) != list(range(len(listed(model)))):
                raise NotRebuilt("each call of its function must make all of its weights anew")
            try:
                try_out(found)
            except RunsWhenBuilt:
                found = dataclasses.replace(found, aside=True)
                try_out(found)
            return found
        except FedlabError:
            raise
        except Exception as error:  # a user's own code, or Keras, in a graph
            problems.append(_reason(error))
            failed.append(error)
    unlisted = _unlisted(build) if isinstance(failed[0], NotRebuilt) else []
    if unlisted:
        raise ConfigError(
            f"the model's function makes the weight {unlisted[0]}, which Keras does not list among the model's weights, and "
            "would neither train nor save: make it by a layer's add_weight, and keep layers as attributes of a layer or a model."
        )
    tells_all = problems[0] in (problems[1], _FROM_OUTSIDE)
    of_copy = "" if tells_all else f" (a copy of the model that it returns cannot either: {problems[1]})"
    raise ConfigError(f"this Keras model cannot be used in a federated process: {problems[0]}{of_copy}.")


def _copied(model: tf.keras.Model) -> Network:
    """Returns a network that is built as a copy of `model`; the copy's initial values are not used."""
    if not isinstance(model, tf.keras.Sequential) and not hasattr(model, "_nested_inputs"):
        raise NotRebuilt("only Sequential and functional models can be copied")
    copy = copier(model)
    twin, order = built(copy)
    if [v.shape for v in listed(twin)] != [v.shape for v in listed(model)]:
        raise NotRebuilt("a copy has other weights")
    return Network(copy, model, order)


def _recorded(build: KerasBuilder) -> tuple[Any, list[tf.Variable]]:
    """Returns what the builder returns, and the variables that it creates, in order."""
    created: list[tf.Variable] = []

    def record(create: Callable, **options: Any) -> tf.Variable:
        created.append(create(**options))
        return created[-1]

    with tf.variable_creator_scope(record):
        return build(), created


def _unlisted(build: KerasBuilder) -> list[str]:
    """Returns the names of weights that the builder creates and its model does not list, to explain why it cannot be rebuilt."""
    model, created = _recorded(build)
    own = {id(variable) for variable in listed(model)}
    weights = (variable for variable in created if variable.dtype.is_floating)  # a model counts its steps in integers
    return [variable.name.partition(":")[0] for variable in weights if id(variable) not in own]


def _reason(error: Exception) -> str:
    """Returns the problem in one line, without the call stack that TensorFlow writes into the messages of errors in a graph."""
    told = str(error)
    if "capture an EagerTensor" in told:
        return _FROM_OUTSIDE
    if "not an element of this graph" in told:
        return "a layer that is called uses a tensor from when the model was built: compute it in call, or keep a NumPy array"
    named = [line.strip() for line in told.splitlines() if _NAMED.match(line)] if told.startswith("in user code:") else []
    if not named and not isinstance(error, NotRebuilt):
        named = [f"{type(error).__name__}: {told}"]
    return first_sentence(named[-1] if named else told)
