"""A Keras classifier as pure functions of its weights, which is what a TFF process is made of."""

from __future__ import annotations

import collections
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fedlab.errors import ConfigError
from fedlab.models.checks import check_logits, check_losses, check_network, check_no_probabilities
from fedlab.models.lifting import KerasBuilder, Network, NotRebuilt, built, listed, network, seeded

_TRIED = 4  # examples
Weights = tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]  # (trainable, non-trainable), in Keras's order


def initial_keras_model(build: KerasBuilder, seed: int) -> tf.keras.Model:
    """The Keras model with initial weights that depend on `seed` alone (an integer in [0, 2^32)).

    Weights that the builder sets itself, or reads from a file, are the initial ones. Raises `ConfigError` for what is no model.
    """
    return built(seeded(build, seed))[0]


def keras_weights(model: tf.keras.Model) -> Weights:
    """The model's weights as arrays."""
    return (
        tuple(v.numpy() for v in model.trainable_variables),
        tuple(v.numpy() for v in model.non_trainable_variables),
    )


def set_keras_weights(model: tf.keras.Model, weights: Weights) -> None:
    """Writes `weights`, ordered as `keras_weights` gives them, into the model."""
    for variable, value in zip(listed(model), [*weights[0], *weights[1]]):
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

    `weights` as `keras_weights` gives them. Raises `ConfigError` for a model that cannot be lifted, one of which Keras would use
    more than fedlab does, and one whose output is no logits [batch, num_classes].
    """
    spec = (tf.TensorSpec([None, *input_shape], tf.float32), tf.TensorSpec([None], tf.int32))
    model, order = built(build)
    check_network(model, input_shape)
    if not model.trainable_variables:
        frozen = ": all of them are frozen (trainable = False)" if model.weights else ""
        raise ConfigError(f"the model has no weights to train{frozen}.")
    own = [tuple(w.shape) for ws in weights for w in ws]
    if [tuple(v.shape) for v in listed(model)] != own:
        raise ConfigError("the model's function builds another model each time it is called.")
    check_no_probabilities(model, input_shape)

    def check(called: tf.keras.Model, logits: Any) -> None:
        check_losses(called)
        if not isinstance(logits, tf.Tensor) or tuple(logits.shape) != (None, num_classes):
            given = tuple(logits.shape) if isinstance(logits, tf.Tensor) else f"a {type(logits).__name__}"
            raise ConfigError(f"the model returns {given}, but {num_classes} classes need logits of shape (None, {num_classes}).")
        check_logits(model, logits)

    lifted = network(build, model, order, lambda candidate: try_out(candidate, spec[0], check))
    bare = bare_model(lifted, weights, _mean_loss, spec)
    return tff.learning.models.FunctionalModel(
        initial_weights=weights,
        predict_on_batch_fn=bare.predict_on_batch,  # called: what dropout draws depends on its place in the graph
        loss_fn=bare.loss,
        metrics_fns=(_zero_metrics, _update_metrics, _finalize_metrics),
        input_spec=spec,
    )


def bare_model(lifted: Network, weights: Weights, loss: Any, spec: Any) -> tff.learning.models.FunctionalModel:
    """A TFF functional model without metrics; `loss(output, label, sample_weight)`."""
    return tff.learning.models.FunctionalModel(
        initial_weights=weights, predict_on_batch_fn=lifted.predictor(), loss_fn=loss, input_spec=spec
    )


def try_out(candidate: Network, x: tf.TensorSpec, check: Callable[[tf.keras.Model, Any], None]) -> None:
    """Calls it in a graph, as a process does; `check` is shown the model there, and its output.

    Raises `NotRebuilt` where it computes something else than its Keras model, at weights of which no two are alike.
    """
    failures = []

    def inspect(model: tf.keras.Model, output: Any) -> None:
        try:
            check(model, output)
        except ConfigError as error:  # kept from AutoGraph, which would write call stacks into its message
            failures.append(error)

    variables, count = listed(candidate.model), len(candidate.model.trainable_variables)
    with tf.Graph().as_default() as graph:
        weights = [tf.compat.v1.placeholder(v.dtype, v.shape) for v in variables]
        places, example = (tuple(weights[:count]), tuple(weights[count:])), tf.compat.v1.placeholder(x.dtype, x.shape)
        candidate.predictor(inspect)(places, example, training=True)
        if failures:
            raise failures[0]
        output = candidate.predictor()(places, example, training=False)
    rng = np.random.default_rng(0)
    values = [w + rng.normal(0.0, 0.5 * np.sqrt(np.mean(w**2)) or 0.1, w.shape) for w in (v.numpy() for v in variables)]
    examples = rng.random([_TRIED, *(size or _TRIED for size in x.shape[1:])], np.float32)
    expected, again = _of_keras(candidate.model, values, examples)
    with tf.compat.v1.Session(graph=graph, config=tf.compat.v1.ConfigProto(device_count={"GPU": 0})) as session:
        found = session.run(output, {example: examples, **dict(zip(weights, values))})
    if np.array_equal(expected, again) and not np.allclose(found, expected, rtol=0, atol=1e-2 * np.abs(expected).max() + 1e-6):
        raise NotRebuilt("another build of it computes something else")


def _of_keras(model: tf.keras.Model, weights: list[np.ndarray], x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the Keras model computes with these weights, twice: there are models that draw at random whatever they are told."""
    own = [v.numpy() for v in listed(model)]
    try:
        for variable, value in zip(listed(model), weights):
            variable.assign(value)
        return model(x, training=False).numpy(), model(x, training=False).numpy()
    finally:
        for variable, value in zip(listed(model), own):
            variable.assign(value)


def _mean_loss(output: tf.Tensor, label: tf.Tensor, sample_weight: None = None) -> tf.Tensor:
    del sample_weight  # TFF hands it on, and it is None
    return tf.reduce_mean(example_losses(output, label))


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
