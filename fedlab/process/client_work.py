"""What a client computes in one round, as a TFF client-work process.

A client's data is ONE element that holds all its examples and the order to visit them in, so that an engine which keeps the
examples on the device can cut the data set out of the graph, and TFF's own runtime executes the same process unchanged.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fedlab.errors import ConfigError
from fedlab.models.adversarial import GanModel
from fedlab.models.functional import as_model_input
from fedlab.privacy.bounding import bounded
from fedlab.process import LARGEST_METRIC, DpSgd, LocalTraining
from fedlab.process.optimizers import Schedule
from fedlab.process.steps import steps_of

Tensors = tuple[tf.Tensor, ...]


@dataclasses.dataclass(frozen=True)
class ExampleSpec:
    """Shape and dtype of raw examples: `x` [n, *input_shape], `y` int32 [n]."""

    input_shape: tuple[int, ...]
    dtype: np.dtype  # uint8 or float32

    @property
    def element(self) -> collections.OrderedDict:
        """One client's data: `order` int32 [epochs, n], a permutation of its examples for each local epoch, and the examples.

        In alphabetical order, which is the order in which tf.data flattens them.
        """
        return collections.OrderedDict(
            order=tf.TensorSpec([None, None], tf.int32),
            x=tf.TensorSpec([None, *self.input_shape], tf.as_dtype(self.dtype)),
            y=tf.TensorSpec([None], tf.int32),
        )


# (trainable, non_trainable, data element, learning-rate factor) → (update = initial − trained, metrics state)
LocalUpdate = Callable[[Tensors, Tensors, dict, tf.Tensor], tuple[Tensors, collections.OrderedDict]]


def local_training(
    model: tff.learning.models.FunctionalModel,
    optimizer: tff.learning.optimizers.Optimizer,
    client: LocalTraining,
    *,
    proximal_strength: float,
) -> LocalUpdate:
    """Mini-batch training from the global weights, with the proximal gradient μ(w − w_global) where μ > 0."""
    private = client if isinstance(client, DpSgd) else None
    batches = _sampled_batches if private and private.batches == "poisson" else for_each_batch

    def update(trainable, non_trainable, data, factor):
        specs = tf.nest.map_structure(tf.TensorSpec.from_tensor, trainable)
        carried, apply = steps_of(optimizer, optimizer.initialize(specs), factor)

        def step(x, y, weights, carried, metrics):
            if private:
                gradient, metrics = _private_gradient(model, private, weights, non_trainable, x, y, metrics)
            else:
                gradient, metrics = _gradient(model, weights, non_trainable, x, y, metrics)
            if proximal_strength:
                gradient = tuple(g + proximal_strength * (w - w0) for g, w, w0 in zip(gradient, weights, trainable))
            return (*apply(weights, gradient, carried), metrics)

        start = (trainable, carried, model.initialize_metrics_state())
        trained, _, metrics = batches(step, start, data, client.batch_size, client.max_local_steps)
        if client.weight_noise:
            trained = tuple(w + tf.random.normal(tf.shape(w), stddev=client.weight_noise) for w in trained)
        return tuple(w0 - w for w0, w in zip(trainable, trained)), metrics

    return update


def full_gradient(model: tff.learning.models.FunctionalModel, batch_size: int) -> LocalUpdate:
    """The gradient of the mean loss over all of the client's examples, summed up batch by batch."""

    def update(trainable, non_trainable, data, factor):
        num_examples = tf.cast(tf.shape(data["y"])[0], tf.float32)

        def step(x, y, total, metrics):
            gradient, metrics = _gradient(model, trainable, non_trainable, x, y, metrics)
            share = tf.cast(tf.shape(y)[0], tf.float32) / num_examples
            return tuple(t + share * g for t, g in zip(total, gradient)), metrics

        start = (tuple(tf.zeros_like(w) for w in trainable), model.initialize_metrics_state())
        total, metrics = for_each_batch(step, start, data, batch_size, None)
        return tuple(factor * t for t in total), metrics

    return update


def _gradient(model, weights, non_trainable, x, y, metrics):
    """The gradient of the batch's mean loss, and the metrics with this batch added."""
    with tf.GradientTape() as tape:
        tape.watch(weights)
        output = model.predict_on_batch((weights, non_trainable), as_model_input(x), training=True)
        loss = model.loss(output=output, label=y)
    result = tff.learning.models.BatchOutput(loss=loss, predictions=output, num_examples=tf.shape(y)[0])
    try:
        gradient = tuple(tape.gradient(loss, weights))
    except LookupError as error:  # TensorFlow's, of an op between the weights and the loss
        raise ConfigError(f"this Keras model cannot be trained: {str(error).partition('. ')[0]}.") from error
    return gradient, model.update_metrics_state(metrics, labels=y, batch_output=result)


def _private_gradient(model, private, weights, non_trainable, x, y, metrics):
    """The sum of clipped per-example gradients, with noise, over `batch_size`; and the metrics with this batch added.

    Example by example: as fast as all at once (tf.vectorized_map), and never more than one gradient in memory. A gradient that is
    not finite counts as zero, metrics that do not fit (`_fit`) are left out, and neither depends on another example.
    """
    none = model.initialize_metrics_state()

    def one_example(i, total, metrics):
        gradient, own = _gradient(model, weights, non_trainable, x[i : i + 1], y[i : i + 1], none)
        gradient, fit = bounded(gradient), _fit(own, LARGEST_METRIC)
        norm = tf.linalg.global_norm(gradient)
        scale = private.clip_norm / tf.maximum(norm, private.clip_norm)
        metrics = tf.nest.map_structure(lambda m, mine: m + tf.where(fit, mine, 0.0), metrics, own)
        return i + 1, tuple(t + scale * g for t, g in zip(total, gradient)), metrics

    start = (tf.constant(0), tuple(tf.zeros_like(w) for w in weights), metrics)
    _, total, metrics = tf.while_loop(lambda i, *_: i < tf.shape(y)[0], one_example, start, parallel_iterations=1)
    if private.noise_multiplier:
        stddev = private.noise_multiplier * private.clip_norm
        total = tuple(t + tf.random.normal(tf.shape(t), stddev=stddev) for t in total)
    return tuple(t / private.batch_size for t in total), metrics


def _fit(metrics, largest):
    """Whether every metric is finite and smaller than `largest`."""
    return tf.reduce_all([tf.abs(m) < largest for m in tf.nest.flatten(metrics)])  # not so for NaN


def _sampled_batches(step, start, data, batch_size, max_local_steps):
    """As `for_each_batch`, but in each step every example takes part by itself with probability min(batch_size / n, 1)."""
    x, y = data["x"], data["y"]
    num_examples = tf.shape(y)[0]
    steps = tf.shape(data["order"])[0] * ((num_examples + batch_size - 1) // batch_size)
    if max_local_steps is not None:
        steps = tf.minimum(steps, max_local_steps)
    rate = tf.cast(batch_size, tf.float32) / tf.cast(num_examples, tf.float32)

    def body(i, *carry):
        batch = tf.where(tf.random.uniform([num_examples]) < rate)[:, 0]
        return (i + 1, *step(tf.gather(x, batch), tf.gather(y, batch), *carry))

    return tf.while_loop(lambda i, *_: i < steps, body, (tf.constant(0), *start), parallel_iterations=1)[1:]


def for_each_batch(step, start, data, batch_size, max_local_steps):
    """Folds `step(x, y, *carry)` over the batches of every epoch. A batch never spans two epochs; the last may be short."""
    x, y, order = data["x"], data["y"], data["order"]
    num_examples = tf.shape(y)[0]
    per_epoch = (num_examples + batch_size - 1) // batch_size
    steps = tf.shape(order)[0] * per_epoch
    if max_local_steps is not None:
        steps = tf.minimum(steps, max_local_steps)

    def body(i, *carry):
        epoch, begin = i // per_epoch, i % per_epoch * batch_size
        batch = order[epoch, begin : tf.minimum(begin + batch_size, num_examples)]
        return (i + 1, *step(tf.gather(x, batch), tf.gather(y, batch), *carry))

    return tf.while_loop(lambda i, *_: i < steps, body, (tf.constant(0), *start), parallel_iterations=1)[1:]


def client_work_process(
    model: tff.learning.models.FunctionalModel | GanModel,
    examples: ExampleSpec,
    update: LocalUpdate,
    schedule: Schedule,
    weigh_by_examples: bool,
    largest_metric: float = LARGEST_METRIC,
) -> tff.learning.templates.ClientWorkProcess:
    """The client-work slot. Its state is the round number (int32, 1 for the first), which the schedule needs.

    An update with a NaN or an infinity in it is replaced by zeros and weight 0. `non_finite_clients` counts its client, and those
    whose update's norm overflows or with a metric of magnitude `largest_metric` or more; the metrics of all of them are left out.
    """
    weights_type = tff.types.tensorflow_to_type(
        tff.learning.models.ModelWeights(
            *[tuple(tf.TensorSpec(np.shape(w), np.float32) for w in ws) for ws in model.initial_weights]
        )
    )
    data_type = tff.SequenceType(tff.types.tensorflow_to_type(examples.element))

    @tf.function(autograph=False)
    def train(weights, data, factor):
        delta, metrics = update(tuple(weights.trainable), tuple(weights.non_trainable), data, factor)
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(d)) for d in delta])
        measured = finite & tf.math.is_finite(tf.linalg.global_norm(delta)) & _fit(metrics, largest_metric)
        delta = tuple(tf.where(finite, d, tf.zeros_like(d)) for d in delta)
        weight = tf.cast(tf.shape(data["y"])[0], tf.float32) if weigh_by_examples else tf.constant(1.0)
        metrics = collections.OrderedDict((k, tf.where(measured, v, 0.0)) for k, v in metrics.items())
        result = tff.learning.templates.ClientResult(update=delta, update_weight=weight * tf.cast(finite, tf.float32))
        return result, (metrics, 1.0 - tf.cast(measured, tf.float32))

    @tff.tensorflow.computation(weights_type, data_type, np.float32)
    def client_update(weights, data, factor):
        return train(weights, data.get_single_element(), factor)

    @tff.tensorflow.computation(np.int32)
    def learning_rate_factor(round_num):
        return tf.cast(schedule.factor(tf.cast(round_num, tf.float32)), tf.float32)

    @tff.tensorflow.computation(np.int32)
    def next_round(round_num):
        return round_num + 1

    metrics_type = client_update.type_signature.result[1]

    @tff.tensorflow.computation(metrics_type)
    def finalize(sums):
        metrics, non_finite = sums
        return collections.OrderedDict(train=model.finalize_metrics(metrics), non_finite_clients=non_finite)

    @tff.federated_computation
    def init():
        return tff.federated_value(np.int32(1), tff.SERVER)

    @tff.federated_computation(
        init.type_signature.result, tff.FederatedType(weights_type, tff.CLIENTS), tff.FederatedType(data_type, tff.CLIENTS)
    )
    def next_fn(round_num, weights, data):
        factor = tff.federated_broadcast(tff.federated_map(learning_rate_factor, round_num))
        result, metrics = tff.federated_map(client_update, (weights, data, factor))
        return tff.templates.MeasuredProcessOutput(
            tff.federated_map(next_round, round_num), result, tff.federated_map(finalize, tff.federated_sum(metrics))
        )

    return tff.learning.templates.ClientWorkProcess(init, next_fn)
