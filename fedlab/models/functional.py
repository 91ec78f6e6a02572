"""A Keras classifier as pure functions of its weights, which is what a TFF process is made of."""

from __future__ import annotations

import collections
import random
from collections.abc import Callable

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fedlab.errors import ConfigError, one_line

KerasBuilder = Callable[[], tf.keras.Model]
Weights = tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]  # (trainable, non-trainable), in order of creation


def initial_keras_model(build: KerasBuilder, seed: int) -> tf.keras.Model:
    """The Keras model with initial weights that depend on `seed` alone (an integer in [0, 2^32))."""
    states = random.getstate(), np.random.get_state()
    try:
        tf.keras.utils.set_random_seed(seed)  # Keras' initializers offer no other handle
        return build()
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


def keras_weights(model: tf.keras.Model) -> Weights:
    """The model's weights as arrays."""
    return (
        tuple(v.numpy() for v in model.trainable_variables),
        tuple(v.numpy() for v in model.non_trainable_variables),
    )


def set_keras_weights(model: tf.keras.Model, weights: Weights) -> None:
    """Writes `weights`, ordered as `keras_weights` gives them, into the model."""
    for variable, value in zip([*model.trainable_variables, *model.non_trainable_variables], [*weights[0], *weights[1]]):
        variable.assign(value)


def as_model_input(x: tf.Tensor) -> tf.Tensor:
    """Raw examples as the model takes them: uint8 images [0, 255] become float32 in [0, 1], floats stay as they are."""
    return tf.cast(x, tf.float32) * (1.0 / 255.0) if x.dtype == tf.uint8 else x


def example_losses(logits: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """Cross-entropy of each example, in nats: logits [n, classes], y int32 [n] → float32 [n]."""
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits)


def functional_classifier(
    build: KerasBuilder, weights: Weights, input_shape: tuple[int, ...], num_classes: int
) -> tff.learning.models.FunctionalModel:
    """A TFF functional model: mean cross-entropy loss; metrics `loss` and `accuracy` as sums over examples.

    Raises `ConfigError` where the model's weights cannot be lifted out (TFF cannot update batch-norm statistics) or its
    output is not [batch, num_classes].
    """
    spec = (tf.TensorSpec([None, *input_shape], tf.float32), tf.TensorSpec([None], tf.int32))
    if any(isinstance(layer, tf.keras.layers.BatchNormalization) for layer in build().submodules):
        raise ConfigError(
            "this Keras model has batch normalization, whose statistics cannot be federated: use layer or group normalization."
        )

    def build_with_weights() -> tf.keras.Model:
        model = build()
        if tf.executing_eagerly():
            set_keras_weights(model, weights)
        return model

    try:
        lifted = tff.learning.models.functional_model_from_keras(build_with_weights, loss_fn=_mean_loss, input_spec=spec)
        # TFF lists weights as they are created, Keras as they are used
        in_order = all(np.array_equal(a, b) for ws, own in zip(lifted.initial_weights, weights) for a, b in zip(ws, own))
        if not in_order:
            raise ConfigError(
                "this Keras model creates its layers in another order than it calls them: create them in order of use."
            )
        with tf.Graph().as_default():
            x = tf.compat.v1.placeholder(tf.float32, spec[0].shape)
            output = tuple(lifted.predict_on_batch(weights, x, training=False).shape)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"this Keras model cannot be used in a federated process: {one_line(error)}") from error
    if output != (None, num_classes):
        raise ConfigError(f"the model returns {output}, but {num_classes} classes need logits of shape (None, {num_classes}).")
    return tff.learning.models.FunctionalModel(
        initial_weights=weights,
        predict_on_batch_fn=lifted.predict_on_batch,
        loss_fn=lifted.loss,
        metrics_fns=(_zero_metrics, _update_metrics, _finalize_metrics),
        input_spec=spec,
    )


def _mean_loss(y_true: tf.Tensor, y_pred: tf.Tensor, sample_weight: None = None) -> tf.Tensor:
    del sample_weight  # TFF looks for the argument, and allows only None
    return tf.reduce_mean(example_losses(y_pred, y_true))


@tf.function(autograph=False)
def _zero_metrics():
    return collections.OrderedDict(loss=tf.constant(0.0), correct=tf.constant(0.0), num_examples=tf.constant(0.0))


@tf.function(autograph=False)
def _update_metrics(state, labels, batch_output, sample_weight=None):
    del sample_weight
    correct = tf.equal(tf.argmax(batch_output.predictions, 1, tf.int32), labels)
    n = tf.cast(batch_output.num_examples, tf.float32)
    return collections.OrderedDict(
        loss=state["loss"] + batch_output.loss * n,
        correct=state["correct"] + tf.reduce_sum(tf.cast(correct, tf.float32)),
        num_examples=state["num_examples"] + n,
    )


@tf.function(autograph=False)
def _finalize_metrics(state):
    n = state["num_examples"]  # 0 where every client was left out: not a number, rather than a loss of 0
    return collections.OrderedDict(loss=state["loss"] / n, accuracy=state["correct"] / n, num_examples=n)
