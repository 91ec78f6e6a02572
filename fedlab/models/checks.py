"""Checks of Keras models: refuses, by the layer's name, features that fedlab does not support, instead of ignoring them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from keras.src.engine.base_layer import AddLoss

from fedlab.errors import ConfigError, one_line
from fedlab.models import lifting

_PASSED = ("Identity", "StopGradient", "Reshape", "Squeeze", "ExpandDims", "Cast", "EnsureShape")  # change no value
_SQUASHES = {"Softmax": "softmax", "Sigmoid": "sigmoid"}  # op → name of the activation
_LARGE, _MOST = 100.0, 1.01  # multiple of the size of initial weights; largest output of a sigmoid, with a margin
_STEPS = ("train_step", "compute_loss", "make_train_function")
_LINEAR = 'leave the last activation out, such as Dense(num_classes) without activation="{0}"'


def check_network(model: tf.keras.Model, input_shape: tuple[int, ...]) -> None:
    """Raises `ConfigError` for problems that are visible without calling the model. `input_shape`: of an example."""
    if isinstance(model.inputs, list) and len(model.inputs) != 1:
        raise ConfigError(f"the model has {len(model.inputs)} inputs, and examples are one array: use one tf.keras.Input.")
    if isinstance(model.outputs, list) and len(model.outputs) != 1:
        raise ConfigError(f"the model has {len(model.outputs)} outputs, and should have one: join them, or return one of them.")
    needed = tuple(model.inputs[0].shape[1:]) if model.inputs else input_shape
    if not tf.TensorShape(needed).is_compatible_with(input_shape):
        raise ConfigError(
            f"the model takes examples of shape {list(needed)}, and the data has {list(input_shape)}: "
            "size its input by the `input_shape` that its function is given."
        )
    own_step = next((name for name in _STEPS if _is_own(model, name)), None)
    if own_step:
        raise ConfigError(f"{type(model).__name__} has a {own_step} of its own, which is not used here: leave it out.")
    if getattr(model, "optimizer", None) is not None or getattr(model, "compiled_loss", None) is not None:
        names = [_name(part) for part in (getattr(model, "loss", None), getattr(model, "optimizer", None)) if part]
        raise ConfigError(
            f"the model is compiled ({', '.join(names)}), which is not used here: leave compile() out, load files by "
            "tf.keras.models.load_model(path, compile=False), and choose client_optimizer."
        )
    for layer in _layers(model):
        problem = _unusable(layer)
        if problem:
            raise ConfigError(f"layer {layer.name} ({type(layer).__name__}) {problem}.")
        if layer.compute_dtype == "float16":
            raise ConfigError(
                f"layer {layer.name} computes in float16, in which small gradients become 0, and losses are not scaled: use "
                "mixed_bfloat16, or float32."
            )
        if isinstance(layer, AddLoss):
            raise ConfigError(
                "the model adds a loss by model.add_loss(tensor), whose graph cannot be built again: call self.add_loss in a "
                "layer's call, or use a regularizer."
            )
        if layer.metrics:
            raise ConfigError(f"layer {layer.name} has a metric of its own, {layer.metrics[0].name}: leave it out.")
    for layer in _layers(model):
        for variable in layer.trainable_weights:
            if variable.dtype != tf.float32:
                raise ConfigError(
                    f"layer {layer.name} has a weight of {variable.dtype.name}, {variable.name}: only float32 is trained."
                )


def _unusable(layer: tf.keras.layers.Layer) -> str:
    """Returns why a layer cannot be a function of its weights and inputs, with the remedy; "" if it can be one."""
    layers = tf.keras.layers
    if isinstance(layer, layers.RNN) and layer.stateful:
        return "keeps its state from batch to batch, and so from client to client: leave stateful=True out"
    if isinstance(layer, (layers.IntegerLookup, layers.StringLookup, layers.TextVectorization)):
        return "looks values up in a table, which is no weight: apply it to the data before"
    if isinstance(layer, layers.SpectralNormalization):
        return "assigns to a trainable weight when it is called: leave it out, or use kernel_constraint"
    if any(isinstance(value, tf.random.Generator) for value in vars(layer).values()):
        return "draws from a tf.random.Generator, whose state is no weight: draw by tf.random.normal or tf.random.uniform"
    return ""


def _is_own(model: tf.keras.Model, method: str) -> bool:
    """Returns True if the model or its class overrides Keras' method of this name."""
    return getattr(getattr(model, method), "__func__", None) is not getattr(tf.keras.Model, method)


def check_plain(applied: lifting.Applied, network: str) -> None:
    """Raises `ConfigError` for parts of a training step that `network` ignores: losses, constraints and batch statistics."""
    for layer in _layers(applied.model):
        if layer.losses:
            given = [name for name in dir(layer) if name.endswith("_regularizer") and name[0] != "_"]
            own = ", ".join(name for name in given if getattr(layer, name, None) is not None) or "add_loss"
            raise ConfigError(f"layer {layer.name} adds a loss of its own ({own}), which {network} does not count: leave it out.")
        given = [name for name in dir(layer) if name.endswith("_constraint") and name[0] != "_"]
        own = ", ".join(name for name in given if getattr(layer, name, None) is not None)
        if own:
            raise ConfigError(f"layer {layer.name} has a constraint ({own}), which {network} does not apply: leave it out.")
    if applied.written:
        raise ConfigError(
            f"{network} has batch normalization, whose statistics it does not average: use layer or group normalization."
        )


def check_logits(model: tf.keras.Model, output: tf.Tensor) -> None:
    """Refuses an `output`, of a graph, that is probabilities; a model that means it says `outputs_are_logits = True`."""
    if getattr(model, "outputs_are_logits", False):
        return
    op = output.op
    while op.type in _PASSED and op.inputs:
        op = op.inputs[0].op
    if op.type in _SQUASHES:
        _refuse_probabilities(_SQUASHES[op.type])


def random_inputs(shape: Sequence[int], dtype: tf.DType, seed: int) -> np.ndarray:
    """Returns four examples: floats in [0, 1), or integers 0 and 1, which every vocabulary has."""
    rng, size = np.random.default_rng(seed), (4, *shape)
    return rng.random(size, np.float32) if dtype.is_floating else rng.integers(0, 2, size, np.int32)


def check_no_probabilities(model: tf.keras.Model, input_shape: tuple[int, ...], dtype: tf.DType = tf.float32) -> None:
    """Raises `ConfigError` where the outputs of an eager model sum to 1 for any input, by whatever way they came about."""
    if getattr(model, "outputs_are_logits", False):
        return
    x = random_inputs(input_shape, dtype, seed=0)
    outputs = _called(model, x)
    if outputs.ndim >= 2 and outputs.shape[-1] > 1 and outputs.min() >= 0 and np.abs(outputs.sum(-1) - 1).max() < 1e-5:
        _refuse_probabilities("softmax")


def check_unbounded(model: tf.keras.Model, input_shape: tuple[int, ...], dtype: tf.DType = tf.float32) -> None:
    """Raises `ConfigError` where the outputs of an eager model lie between 0 and 1 however large its weights are."""
    if getattr(model, "outputs_are_logits", False):
        return
    x = random_inputs(input_shape, dtype, seed=0)
    with lifting.holding(model, [_LARGE * _spread(variable) for variable in lifting.listed(model)]):
        outputs = _called(model, x)
    if outputs.min() >= 0 and 0 < outputs.max() <= _MOST:  # a ReLU's are larger, or all zero
        raise ConfigError(
            "the model's outputs lie between 0 and 1 whatever its weights are, as those of a sigmoid or a softmax do, and should "
            "be logits: leave the last activation out, or set model.outputs_are_logits = True."
        )


def _spread(variable: tf.Variable) -> np.ndarray:
    """Returns random values of the variable's shape, about as large as initial values."""
    values = np.random.default_rng(0).normal(size=variable.shape)
    return (values / np.sqrt(max(1, np.prod(variable.shape[:-1])))).astype(variable.dtype.as_numpy_dtype)


def _called(model: tf.keras.Model, x: np.ndarray) -> np.ndarray:
    """Returns the outputs, float64, without training. Raises `ConfigError`."""
    try:
        called = model(x, training=False)
    except Exception as error:
        raise ConfigError(
            f"the model cannot be called with examples of shape {list(x.shape[1:])}: {type(error).__name__}: {one_line(error)}"
        ) from error
    if not isinstance(called, tf.Tensor):
        raise ConfigError(f"the model returns a {type(called).__name__}, and should return one tensor: logits [batch, classes].")
    return called.numpy().astype(np.float64)


def _name(part: Any) -> str:
    """Returns the name of a loss or an optimizer that was given to `compile`."""
    return part if isinstance(part, str) else getattr(part, "__name__", type(part).__name__)


def _refuse_probabilities(activation: str) -> None:
    raise ConfigError(
        f"the model ends in a {activation}, and should return logits, which the loss turns into probabilities: "
        f"{_LINEAR.format(activation)}."
    )


def _layers(model: tf.keras.Model) -> list[Any]:
    """Returns all layers, the innermost first and the model last, because a layer's properties appear also in those around it."""
    found = [part for part in lifting.parts(model) if isinstance(part, tf.keras.layers.Layer)]
    return sorted(found, key=lambda layer: len(lifting.parts(layer)))
