"""Checks that Keras loads a saved model unchanged: it saves some models only in part, or loads a different one."""

from __future__ import annotations

import collections
import pathlib
import tempfile
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from fedlab.errors import ConfigError, first_sentence
from fedlab.models import lifting

_KERAS = "keras."  # prefix of the modules of Keras' own classes


def check_reloads(model: tf.keras.Model, x: np.ndarray) -> None:
    """Raises `ConfigError` if the model cannot be saved, or if the saved model computes different outputs for `x`.

    The model's weights should all differ. A file from which Keras cannot build a model is allowed: users may load it after they
    register their own classes. Models of Keras' own layers, each in one model, are not tested: Keras saves them correctly.
    """
    from fedlab.models.saved import load_own  # imported here, because it imports the caller

    parts = lifting.parts(model)
    shared = _in_two_models(parts)
    if not shared and all(type(part).__module__.startswith(_KERAS) for part in parts):
        return
    expected, again = (model(x, training=False).numpy() for _ in range(2))
    classes = {type(part).__name__: type(part) for part in parts if isinstance(part, tf.keras.layers.Layer)}
    with tempfile.TemporaryDirectory() as folder, tf.keras.utils.custom_object_scope(classes):
        path = pathlib.Path(folder, "model.keras")
        try:
            model.save(path)
        except Exception as error:  # of a user's own layer
            raise ConfigError(f"Keras cannot save the model: {type(error).__name__}: {first_sentence(str(error))}.") from error
        try:
            found = load_own(path)(x, training=False).numpy()
        except Exception:
            if shared:
                raise _another(parts, shared) from None
            return
    alike = np.allclose(found, expected, rtol=0, atol=1e-2 * np.abs(expected).max() + 1e-6)
    if np.array_equal(expected, again) and not alike:
        raise _another(parts, shared)


def _another(parts: Sequence[tf.Module], shared: Sequence[str]) -> ConfigError:
    """Returns the error about a model that is loaded as a different one."""
    return ConfigError(f"Keras would read another model from model.keras than the one that is trained: {_reason(parts, shared)}.")


def _in_two_models(parts: Sequence[tf.Module]) -> list[str]:
    """Returns the names of layers that are in more than one of the models among `parts`."""
    models = [part for part in parts if isinstance(part, tf.keras.Model)]
    times = collections.Counter(id(layer) for model in models for layer in model.layers)
    return [part.name for part in parts if times[id(part)] > 1]


def _reason(parts: Sequence[tf.Module], shared: Sequence[str]) -> str:
    if shared:
        return f"layer {shared[0]} stands in two models, of which each would get a copy: use it in one of them"
    layers = [part for part in parts if isinstance(part, tf.keras.layers.Layer)]
    saved = {id(v) for layer in layers for v in [*layer._trainable_weights, *layer._non_trainable_weights]}
    lost = [v.name for layer in layers for v in layer.variables if id(v) not in saved]
    if lost:
        return f"it does not save {lost[0]}, which no layer has as a weight of its own: make it by a layer's add_weight"
    return "a layer of your own is not built again from its get_config() as it was"
