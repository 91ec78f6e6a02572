"""Turns a Keras model into pure functions of its weights, from which a TFF process is built."""

from __future__ import annotations

import collections
import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fedlab.errors import ConfigError, FedlabError, one_line, own_frames
from fedlab.models.checks import check_logits, check_network, check_no_probabilities, check_unbounded, random_inputs
from fedlab.models.lifting import (
    Applied,
    Inspect,
    KerasBuilder,
    Network,
    NotRebuilt,
    RunsWhenBuilt,
    assign,
    built,
    holding,
    listed,
    network,
    parts,
    seeded,
)
from fedlab.models.reloading import check_reloads
from fedlab.models.training import Extras, check_step, fixed_bytes, picked, placed, stepper
from fedlab.stateless import has_gradient
from fedlab.tasks import Classification, Prediction

_TRIED = 4  # number of examples
_UNFED = "must feed a value for placeholder"  # TensorFlow's message for an op on a model's symbolic input
_A_LAYER = "a layer of the model"
_WITHOUT_GRADIENT = re.compile(r"operation\s*'(.*)' \(op type: (\w+)\)")  # TensorFlow's message for an op without a gradient

Weights = tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]  # (trainable, non-trainable), in Keras's order


def initial_keras_model(build: KerasBuilder, seed: int) -> tf.keras.Model:
    """Returns the Keras model with initial weights that depend on `seed` alone (an integer in [0, 2^32)).

    Weights that the builder sets itself, or reads from a file, are kept. Raises `ConfigError` if the builder returns no model.
    """
    return built(seeded(build, seed))[0]


def keras_weights(model: tf.keras.Model) -> Weights:
    """Returns the model's weights as arrays."""
    return (
        tuple(v.numpy() for v in model.trainable_variables),
        tuple(v.numpy() for v in model.non_trainable_variables),
    )


def set_keras_weights(model: tf.keras.Model, weights: Weights) -> None:
    """Writes `weights`, in the order of `keras_weights`, into the model."""
    assign(model, [*weights[0], *weights[1]])


class TaskModel(tff.learning.models.FunctionalModel):
    """A functional model with its task, and what a training step does beyond its output.

    `statistics`: the positions, among the non-trainable weights, of those that a training step changes. The *trained* weights are
    the trainable ones followed by these. `constraints`: a projection, or None, per trainable weight; () if there are none.
    """

    def __init__(self, task: Prediction, extras: Extras, step: Callable | None, **functions: Any):
        """`step`: as `training.stepper` returns it; None if the output of `predict_on_batch` is all of it."""
        super().__init__(**functions)
        self.task, self.statistics, self.constraints, self._step = task, extras.statistics, extras.constraints, step
        self.has_losses = extras.has_losses  # whether layers add losses, such as regularizers

    def forward(self, weights: Any, x: Any) -> tuple[Any, tuple, Any]:
        """Returns, in training, the output, the new statistics, and the losses of layers' own, None if there are none.

        `weights`: (trainable, non-trainable).
        """
        if self._step is None:
            return self.predict_on_batch(weights, x, training=True), (), None
        return self._step(weights, x)

    def statistics_of(self, non_trainable: Sequence[Any]) -> tuple:
        """Returns the statistics among the non-trainable weights."""
        return picked(self.statistics, non_trainable)

    def moved(self, non_trainable: Sequence[Any], statistics: Sequence[Any]) -> tuple:
        """Returns the non-trainable weights with these statistics."""
        return placed(self.statistics, non_trainable, statistics)

    @property
    def trained(self) -> tuple:
        """Returns the initial values of the trained weights."""
        return (*self.initial_weights[0], *self.statistics_of(self.initial_weights[1]))

    def divided(self, trained: Sequence[Any], non_trainable: Sequence[Any]) -> tuple[tuple, tuple]:
        """Returns (trainable, non-trainable), given the trained weights, and non-trainable ones with other statistics."""
        count = len(self.initial_weights[0])
        return tuple(trained[:count]), self.moved(non_trainable, trained[count:])

    @property
    def specs(self) -> tuple[tuple[tf.TensorSpec, ...], tuple[tf.TensorSpec, ...]]:
        """Returns the specs of (trainable, non-trainable) weights."""
        return weight_specs(self)

    @property
    def fixed_bytes(self) -> int:
        """Returns the bytes of the weights that training never changes."""
        return fixed_bytes(self.statistics, self.initial_weights[1])


def weight_specs(model: Any) -> tuple[tuple[tf.TensorSpec, ...], tuple[tf.TensorSpec, ...]]:
    """Returns the specs of the (trainable, non-trainable) weights of a functional model."""
    trainable, non_trainable = (
        tuple(tf.TensorSpec(np.shape(w), np.asarray(w).dtype) for w in ws) for ws in model.initial_weights
    )
    return trainable, non_trainable


def functional_classifier(build: KerasBuilder, weights: Weights, input_shape: tuple[int, ...], num_classes: int) -> TaskModel:
    """Returns `functional_model` for classification into `num_classes` classes."""
    return functional_model(build, weights, input_shape, Classification(num_classes=num_classes))


def functional_model(
    build: KerasBuilder, weights: Weights, input_shape: tuple[int, ...], task: Prediction, dtype: tf.DType = tf.float32
) -> TaskModel:
    """Returns a TFF functional model with the loss of `task`, and its metrics as sums over examples.

    `weights`: as `keras_weights` returns them. `dtype`: of inputs, float32 or int32. Raises `ConfigError` for a model that cannot
    be lifted, for one with features that Keras uses and fedlab ignores, and for one whose outputs do not suit the task.
    """
    targets = tf.TensorSpec([None, *task.target_shape], tf.as_dtype(task.target_dtype))
    spec = (tf.TensorSpec([None, *input_shape], dtype), targets)
    model, order = built(build)
    check_network(model, input_shape)
    if not model.trainable_variables:
        frozen = ": all of them are frozen (trainable = False)" if model.weights else ""
        raise ConfigError(f"the model has no weights to train{frozen}.")
    own = [tuple(w.shape) for ws in weights for w in ws]
    if [tuple(v.shape) for v in listed(model)] != own:
        raise ConfigError("the model's function builds another model each time it is called.")
    if task.outputs_are_logits:
        check_no_probabilities(model, input_shape, dtype)

    found: list[Extras] = []

    def check(applied: Applied) -> None:
        outputs = applied.output
        if not isinstance(outputs, tf.Tensor) or tuple(outputs.shape) != (None, *task.output_shape):
            given = tuple(outputs.shape) if isinstance(outputs, tf.Tensor) else f"a {type(outputs).__name__}"
            raise ConfigError(f"the model returns {given}, but {task.needed_outputs}.")
        if outputs.dtype != tf.float32:
            raise ConfigError(f"the model returns {outputs.dtype.name}, and should return float32: tf.cast its output.")
        if task.outputs_are_logits:
            check_logits(model, outputs)
        found.append(Extras.of(applied, model))

    examples = _examples(input_shape, dtype)

    def attempt(candidate: Network) -> None:
        try_out(candidate, spec[0], check)
        if found[-1]:
            check_step(candidate, found[-1], examples, _unlike(listed(model)))

    lifted = network(build, model, order, attempt)
    extras = found[-1]
    if task.outputs_are_logits:
        check_unbounded(model, input_shape, dtype)
    with holding(model, _unlike(listed(model))):
        check_reloads(model, examples)
    metrics_fns = _metrics(task, check_task(task))

    def loss(output: tf.Tensor, label: tf.Tensor, sample_weight: None = None) -> tf.Tensor:
        del sample_weight  # TFF passes it on, and it is None
        return task.objective(output, label)

    bare = bare_model(lifted, weights, loss, spec)
    return TaskModel(
        task,
        extras,
        stepper(lifted, extras) if extras else None,
        initial_weights=weights,
        predict_on_batch_fn=bare.predict_on_batch,  # called, because dropout's draws depend on its place in the graph
        loss_fn=bare.loss,
        metrics_fns=metrics_fns,
        input_spec=spec,
    )


def bare_model(lifted: Network, weights: Weights, loss: Any, spec: Any) -> tff.learning.models.FunctionalModel:
    """Returns a TFF functional model without metrics; `loss(output, label, sample_weight)`."""
    return tff.learning.models.FunctionalModel(
        initial_weights=weights, predict_on_batch_fn=lifted.predictor(), loss_fn=loss, input_spec=spec
    )


def try_out(candidate: Network, x: tf.TensorSpec, check: Inspect) -> None:
    """Calls the model in a graph, as a process does, and passes the call to `check`.

    Raises `NotRebuilt` if the output differs from that of the Keras model, at weights whose values all differ, and
    `RunsWhenBuilt`.
    """
    failures, called = [], []

    def inspect(applied: Applied) -> None:
        called.append(applied.model)
        try:
            check(applied)
        except ConfigError as error:  # hidden from AutoGraph, which would write call stacks into its message
            failures.append(error)

    variables, count = listed(candidate.model), len(candidate.model.trainable_variables)
    with tf.Graph().as_default() as graph:
        weights = [tf.compat.v1.placeholder(v.dtype, v.shape) for v in variables]
        places, example = (tuple(weights[:count]), tuple(weights[count:])), tf.compat.v1.placeholder(x.dtype, x.shape)
        trained = candidate.predictor(inspect)(places, example, training=True)
        if failures:
            raise failures[0]
        _check_repeatable(called[0], trained)
        _check_gradients(called[0], trained, weights)
        output = candidate.predictor()(places, example, training=False)
    examples = _examples(x.shape[1:], x.dtype)
    values = _unlike(variables)
    with holding(candidate.model, values):  # twice, because some models draw at random even with training=False
        expected, again = (candidate.model(examples, training=False).numpy() for _ in range(2))
    with tf.compat.v1.Session(graph=graph, config=tf.compat.v1.ConfigProto(device_count={"GPU": 0})) as session:
        try:
            found = session.run(output, {example: examples, **dict(zip(weights, values))})
        except tf.errors.InvalidArgumentError as error:
            if _UNFED not in str(error):
                raise
            raise RunsWhenBuilt from error
    if np.array_equal(expected, again) and not np.allclose(found, expected, rtol=0, atol=1e-2 * np.abs(expected).max() + 1e-6):
        raise NotRebuilt("another build of it computes something else")


# Ops whose result depends on more than their inputs, and how; random ops are given a key, see `fedlab.stateless`
_UNREPEATABLE = {
    "Timestamp": "reads the clock (tf.timestamp)",
    **dict.fromkeys(("PyFunc", "PyFuncStateless", "EagerPyFunc"), "calls a Python function (tf.py_function, tf.numpy_function)"),
    **dict.fromkeys(("ReadFile", "WriteFile"), "reads or writes a file"),
}


def _check_repeatable(model: tf.keras.Model, output: tf.Tensor) -> None:
    """Raises `ConfigError`, naming the layer, for an op with which equal seeds would not give equal bits."""
    graph = output.graph.as_graph_def()
    for node in itertools.chain(graph.node, *(f.node_def for f in graph.library.function)):
        if node.op in _UNREPEATABLE:
            layer = _layer_called(model, node.name.split("/"))
            raise ConfigError(f"{layer} {_UNREPEATABLE[node.op]}, so a run could not be repeated: compute it by TensorFlow ops.")


def _check_gradients(model: tf.keras.Model, output: tf.Tensor, weights: Sequence[tf.Tensor]) -> None:
    """Raises `ConfigError`, naming the layer, for an op without a gradient in the graph that leads to `output`."""
    graph = output.graph.as_graph_def()
    ops_of_all = {node.op for nodes in (graph.node, *(f.node_def for f in graph.library.function)) for node in nodes}
    if all(map(has_gradient, ops_of_all)):  # computing the gradients would take longer
        return
    try:
        tf.gradients(output, weights)
    except LookupError as error:
        found = _WITHOUT_GRADIENT.search(str(error))
        assert found, error  # the message of the pinned TensorFlow
        scopes, op = found.groups()
        layer = _layer_called(model, scopes.split("/"))
        raise ConfigError(
            f"{layer} cannot be trained through, since TensorFlow has no gradient of its op {op}: leave it out, or apply it to "
            "the data before."
        ) from error


def _layer_called(model: tf.keras.Model, scopes: Sequence[str]) -> str:
    """Returns the innermost layer of `model` among the scopes of an op, as "layer random_contrast (RandomContrast)"."""
    layers = {layer.name: layer for layer in parts(model) if isinstance(layer, tf.keras.layers.Layer)}
    found = [layers[scope] for scope in scopes if scope in layers]
    return f"layer {found[-1].name} ({type(found[-1]).__name__})" if found else _A_LAYER


def _unlike(variables: Sequence[tf.Variable]) -> list[np.ndarray]:
    """Returns values for weights that all differ: their own plus noise of half their size."""
    rng = np.random.default_rng(0)

    def unlike(w: np.ndarray) -> np.ndarray:
        if w.dtype.kind != "f":  # a count of examples, a table of categories
            return w
        values = w + rng.normal(0.0, 0.5 * np.sqrt(np.mean(w**2)) or 0.1, w.shape)
        return np.abs(values) if w.size and w.min() > 0 else values  # variances stay positive

    return [unlike(variable.numpy()) for variable in variables]


def _examples(shape: Sequence[int | None], dtype: tf.DType) -> np.ndarray:
    return random_inputs([size or _TRIED for size in shape], dtype, seed=1)


def check_task(task: Prediction) -> dict[str, tuple[int, ...]]:
    """Returns the shape of each sum of `task`. Raises `ConfigError` if its methods are inconsistent."""
    name = type(task).__name__
    with tf.Graph().as_default():
        outputs = tf.compat.v1.placeholder(tf.float32, [_TRIED, *task.output_shape])
        stored = tf.compat.v1.placeholder(tf.as_dtype(task.target_dtype), [_TRIED, *task.target_shape])
        targets = task.targets(stored)
        each = {"loss": task.losses(outputs, targets), **task.counts(outputs, targets)}
        for which, tensor in each.items():
            if not isinstance(tensor, tf.Tensor) or tensor.dtype != tf.float32 or tensor.shape[:1] != [_TRIED]:
                raise ConfigError(f"{name} gives {tensor!r} as {which}: return float32 [n, …], a value for each example.")
        if each["loss"].shape != [_TRIED]:
            raise ConfigError(f"{name}.losses returned {list(each['loss'].shape)} for {_TRIED} examples: return float32 [n].")
        sums = task.sums(_objective(task, outputs, targets), tf.constant(float(_TRIED)), outputs, targets)
        shapes = {which: tuple(tensor.shape) for which, tensor in sums.items()}
        if set(shapes) != {*each, "num_examples"}:
            raise ConfigError(f"{name}.sums returned {', '.join(shapes)}: return {', '.join([*each, 'num_examples'])}.")
        found = task.metrics(sums)
        for metric in ("loss", *task.measured, *([task.headline] if task.headline else [])):
            if metric not in found:
                raise ConfigError(f"{name}.metrics returned {', '.join(found) or 'nothing'}: {metric} is missing.")
    return shapes


def _objective(task: Prediction, outputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Returns the value that training minimises. Raises `ConfigError` for a user's own loss that cannot be minimised."""
    if task.minimised is None:
        return task.loss(outputs, targets)
    name = f"{type(task.minimised).__name__}.losses"
    try:
        each = task.minimised.losses(outputs, targets)
        found = tf.gradients(each, outputs)[0]
    except FedlabError as error:
        raise ConfigError(f"loss: {error}") from None
    except Exception as error:
        where = own_frames(error)
        raise ConfigError(
            f"loss: {name} failed: {type(error).__name__}: {one_line(error)}{f' ({where})' if where else ''}."
        ) from error
    if each.dtype != tf.float32 or each.shape != [_TRIED]:
        raise ConfigError(
            f"loss: {name} returned {each.dtype.name} {list(each.shape)} for {_TRIED} examples: return float32 [n], the loss of "
            "each example."
        )
    if found is None:
        raise ConfigError(f"loss: {name} has no gradient with respect to the model's outputs: use differentiable ops only.")
    return task.objective(outputs, targets)


def _metrics(task: Prediction, shapes: Mapping[str, tuple[int, ...]]) -> tuple[Callable, Callable, Callable]:
    """Returns a task's metrics in TFF's form: functions that start the sums at zero, add a batch, and compute the metrics."""

    @tf.function(autograph=False)
    def zero():
        return collections.OrderedDict((name, tf.zeros(shape)) for name, shape in shapes.items())

    @tf.function(autograph=False)
    def update(state, labels, batch_output, sample_weight=None):
        del sample_weight
        n = tf.cast(batch_output.num_examples, tf.float32)
        added = task.sums(batch_output.loss, n, batch_output.predictions, labels)
        return collections.OrderedDict((name, state[name] + added[name]) for name in shapes)

    @tf.function(autograph=False)
    def finalize(state):
        return collections.OrderedDict(**task.training_metrics(state), num_examples=state["num_examples"])

    return zero, update, finalize
