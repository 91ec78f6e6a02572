"""The client step of one round, as a TFF client-work process.

A client's data is ONE element that contains all its examples and the order of visiting them. Therefore an engine with the
examples on its device can cut the data set out of the graph, and TFF's own runtime executes the same process unchanged.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fedlab.algorithms.base import LARGEST_METRIC
from fedlab.algorithms.local import LocalTraining
from fedlab.algorithms.optimizers import Schedule
from fedlab.algorithms.steps import first_steps
from fedlab.errors import ConfigError
from fedlab.models.adversarial import GanModel
from fedlab.models.functional import TaskModel, weight_specs
from fedlab.privacy.bounding import bounded
from fedlab.types import ExampleSet

Tensors = tuple[tf.Tensor, ...]


@dataclasses.dataclass(frozen=True)
class ExampleSpec:
    """Shape and dtype of raw examples: `x` [n, *input_shape], `y` [n, *target_shape]."""

    input_shape: tuple[int, ...]
    dtype: np.dtype  # uint8, float32 or int32
    target_shape: tuple[int, ...] = ()
    target_dtype: str = "int32"

    @classmethod
    def of(cls, examples: ExampleSet) -> ExampleSpec:
        """Returns the spec of any number of `examples` of the same kind."""
        x, task = examples.x, examples.task
        return cls(x.shape[1:], x.dtype, task.target_shape, task.target_dtype)

    @property
    def element(self) -> collections.OrderedDict:
        """Returns the type of one client's data: `order` int32 [epochs, n], a permutation of n examples per epoch; the examples.

        The keys are in alphabetical order, in which tf.data flattens them.
        """
        return collections.OrderedDict(
            order=tf.TensorSpec([None, None], tf.int32),
            x=tf.TensorSpec([None, *self.input_shape], tf.as_dtype(self.dtype)),
            y=tf.TensorSpec([None, *self.target_shape], tf.as_dtype(self.target_dtype)),
        )


# (trainable, non_trainable, data element, learning-rate factor) → (update = initial − trained, of the trained weights of
# `TaskModel.trained`; metrics state)
LocalUpdate = Callable[[Tensors, Tensors, dict, tf.Tensor], tuple[Tensors, collections.OrderedDict]]
# (gradient of a batch, weights, global weights that the client received) → gradient for the step
Correction = Callable[[Tensors, Tensors, Tensors], Tensors]


def local_training(
    model: Any,  # a TaskModel, or a part of one
    optimizer: tff.learning.optimizers.Optimizer,
    client: LocalTraining,
    correct: Correction | None = None,
) -> LocalUpdate:
    """Returns mini-batch training from the global weights. `correct`: an algorithm's change to the gradient of every batch."""
    train = continued_training(model, optimizer, client, correct)

    def update(trainable, non_trainable, data, factor):
        delta, metrics, _ = train(trainable, non_trainable, data, factor, None)
        return delta, metrics

    return update


def continued_training(
    model: Any, optimizer: tff.learning.optimizers.Optimizer, client: LocalTraining, correct: Correction | None = None
) -> Callable[..., tuple[Tensors, collections.OrderedDict, collections.OrderedDict]]:
    """Like `local_training`, with the state of the optimizer as the last argument and the last result.

    The state is the part that `steps.steps_of` carries; None: a new one.
    """
    private = client.private
    batches = _sampled_batches if private and private.batches == "poisson" else for_each_batch
    if model.statistics and (private or client.weight_noise):
        raise ConfigError(
            "this model has batch normalization, whose statistics client=dp_sgd and weight_noise cannot protect: use layer or "
            "group normalization."
        )

    def update(trainable, non_trainable, data, factor, state):
        new, apply = first_steps(optimizer, trainable, factor)

        def step(x, y, weights, statistics, carried, metrics):
            fixed = model.moved(non_trainable, statistics)
            if private:
                gradient, metrics = _private_gradient(model, private, weights, fixed, x, y, metrics)
            else:
                gradient, statistics, metrics = batch_gradient(model, weights, fixed, x, y, metrics)
            if correct:
                gradient = correct(gradient, weights, trainable)
            weights, carried = apply(weights, gradient, carried)
            return constrained(model, weights), statistics, carried, metrics

        statistics = model.statistics_of(non_trainable)
        start = (trainable, statistics, new if state is None else state, model.initialize_metrics_state())
        trained, moved, carried, metrics = batches(step, start, data, client.batch_size, client.max_local_steps)
        if client.weight_noise:
            trained = tuple(w + tf.random.normal(tf.shape(w), stddev=client.weight_noise) for w in trained)
        return tuple(w0 - w for w0, w in zip((*trainable, *statistics), (*trained, *moved))), metrics, carried

    return update


def constrained(model: Any, weights: Tensors) -> Tensors:
    """Applies the constraints of the model's layers to its trainable weights."""
    if not model.constraints:
        return weights
    return tuple(w if constraint is None else constraint(w) for w, constraint in zip(weights, model.constraints))


def check_unconstrained(model: Any, process: str) -> None:
    """Raises `ConfigError` for a model with constraints, which `process` would ignore."""
    if model.constraints:
        raise ConfigError(
            f"process={process} does not support models with a constraint on their weights: leave it out, or use process=fed_avg "
            "or ditto."
        )


def full_gradient(model: Any, batch_size: int) -> LocalUpdate:
    """Returns the gradient of the mean loss over all of the client's examples, summed batch by batch."""

    def update(trainable, non_trainable, data, factor):
        num_examples = tf.cast(tf.shape(data["y"])[0], tf.float32)

        def step(x, y, total, statistics, metrics):
            gradient, statistics, metrics = batch_gradient(
                model, trainable, model.moved(non_trainable, statistics), x, y, metrics
            )
            share = tf.cast(tf.shape(y)[0], tf.float32) / num_examples
            return tuple(t + share * g for t, g in zip(total, gradient)), statistics, metrics

        before = model.statistics_of(non_trainable)
        start = (tuple(tf.zeros_like(w) for w in trainable), before, model.initialize_metrics_state())
        total, moved, metrics = for_each_batch(step, start, data, batch_size, None)
        return (*(factor * t for t in total), *(s0 - s for s0, s in zip(before, moved))), metrics

    return update


def whole_gradient(model: Any, batch_size: int) -> Callable[..., Tensors]:
    """Returns the gradient over all of a client's examples, each once: (trainable, non_trainable, data) → the first result of
    `full_gradient`."""
    gradient = full_gradient(model, batch_size)
    return lambda trainable, non_trainable, data: gradient(trainable, non_trainable, {**data, "order": data["order"][:1]}, 1.0)[0]


def mean_loss(model: Any, batch_size: int) -> Callable[..., tf.Tensor]:
    """Returns the mean loss over all of a client's examples, without dropout: (trainable, non_trainable, data) → a scalar."""

    def compute(trainable, non_trainable, data):
        def step(x, y, total):
            y = model.task.targets(y)
            output = model.predict_on_batch((trainable, non_trainable), model.task.inputs(x), training=False)
            return (total + as_float(tf.shape(y)[0]) * model.loss(output=output, label=y),)

        once = {**data, "order": data["order"][:1]}
        [total] = for_each_batch(step, (tf.zeros([]),), once, batch_size, None)
        return total / as_float(tf.shape(data["y"])[0])

    return compute


def squared_norm(tensors: Sequence[tf.Tensor]) -> tf.Tensor:
    """Returns the sum of the squares of all numbers."""
    return tf.add_n([tf.reduce_sum(t**2) for t in tensors])


def batch_gradient(model, weights, non_trainable, x, y, metrics):
    """Returns the gradient of the batch's mean loss, the model's new statistics, and the metrics including this batch.

    `x`, `y`: raw examples. The losses of layers' own count in the gradient, but not in the metrics.
    """
    y = model.task.targets(y)
    with tf.GradientTape() as tape:
        tape.watch(weights)
        output, statistics, penalty = model.forward((weights, non_trainable), model.task.inputs(x))
        loss = model.loss(output=output, label=y)
        objective = loss if penalty is None else loss + penalty
    result = tff.learning.models.BatchOutput(loss=loss, predictions=output, num_examples=tf.shape(y)[0])
    try:
        # The gradient of an embedding is a list of rows with repetitions, whose norm is not that of their sum
        found = tape.gradient(objective, weights)
        gradient = tuple(tf.convert_to_tensor(g) if isinstance(g, tf.IndexedSlices) else g for g in found)
    except LookupError as error:  # raised by TensorFlow for an op between the weights and the loss
        raise ConfigError(f"this Keras model cannot be trained: {str(error).partition('. ')[0]}.") from error
    return gradient, statistics, model.update_metrics_state(metrics, labels=y, batch_output=result)


def _private_gradient(model, private, weights, non_trainable, x, y, metrics):
    """Returns the sum of clipped per-example gradients plus noise, divided by `batch_size`, and the metrics including this batch.

    Computes example by example, which is as fast as all at once (tf.vectorized_map) and keeps only one gradient in memory. A
    gradient that is not finite counts as zero, metrics that are too large or not finite (`_fit`) are left out, and neither
    affects other examples.
    """
    none = model.initialize_metrics_state()

    def one_example(i, total, metrics):
        gradient, _, own = batch_gradient(model, weights, non_trainable, x[i : i + 1], y[i : i + 1], none)
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
    """Returns True if every metric is finite and smaller than `largest`."""
    fit = [tf.abs(m) < largest for m in tf.nest.flatten(metrics)]  # False for NaN
    return tf.reduce_all([each if each.shape.rank == 0 else tf.reduce_all(each) for each in fit])


def _sampled_batches(step, start, data, batch_size, max_local_steps):
    """Like `for_each_batch`, but each step samples every example independently with probability min(batch_size / n, 1)."""
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


def as_float(x):
    """Converts `x` to float32."""
    return tf.cast(x, tf.float32)


def num_steps(data, batch_size, max_local_steps):
    """Returns the number of batches of a client in a round: int32.

    The loops below count for themselves, because dropout's draws depend on the number of ops before it.
    """
    steps = tf.shape(data["order"])[0] * ((tf.shape(data["y"])[0] + batch_size - 1) // batch_size)
    return steps if max_local_steps is None else tf.minimum(steps, max_local_steps)


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


def sent_by_client(delta, metrics, data, weigh_by_examples, largest_metric):
    """Returns a client's result for TFF, (its metrics, 1 if they were left out), and whether its update is finite."""
    finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(d)) for d in delta])
    measured = finite & tf.math.is_finite(tf.linalg.global_norm(delta)) & _fit(metrics, largest_metric)
    delta = tuple(tf.where(finite, d, tf.zeros_like(d)) for d in delta)
    weight = tf.cast(tf.shape(data["y"])[0], tf.float32) if weigh_by_examples else tf.constant(1.0)
    metrics = collections.OrderedDict((k, tf.where(measured, v, 0.0)) for k, v in metrics.items())
    result = tff.learning.templates.ClientResult(update=delta, update_weight=weight * tf.cast(finite, tf.float32))
    return result, (metrics, 1.0 - tf.cast(measured, tf.float32)), finite


def counted(schedule: Schedule) -> tuple[tff.Computation, tff.Computation]:
    """Returns TFF computations of a round's number (int32): the learning-rate factor, and the next number."""

    @tff.tensorflow.computation(np.int32)
    def learning_rate_factor(round_num):
        return tf.cast(schedule.factor(tf.cast(round_num, tf.float32)), tf.float32)

    @tff.tensorflow.computation(np.int32)
    def next_round(round_num):
        return round_num + 1

    return learning_rate_factor, next_round


def finalizing(model: Any, metrics_type: tff.Type) -> tff.Computation:
    """Returns a TFF computation of the round's measurements: sums over clients of the metrics from `sent_by_client`."""

    @tff.tensorflow.computation(metrics_type)
    def finalize(sums):
        metrics, non_finite = sums
        return collections.OrderedDict(train=model.finalize_metrics(metrics), non_finite_clients=non_finite)

    return finalize


def weights_type_of(model: Any) -> tff.Type:
    """Returns the type of a model's weights."""
    return tff.types.tensorflow_to_type(tff.learning.models.ModelWeights(*weight_specs(model)))


def client_work_process(
    model: TaskModel | GanModel,
    examples: ExampleSpec,
    update: LocalUpdate,
    schedule: Schedule,
    weigh_by_examples: bool,
    largest_metric: float = LARGEST_METRIC,
) -> tff.learning.templates.ClientWorkProcess:
    """Returns the client-work slot. Its state is the round number (int32, 1 for the first), which the schedule needs.

    An update with a NaN or an infinity is replaced by zeros and weight 0. `non_finite_clients` counts its client, and clients
    whose update's norm overflows or with a metric of magnitude `largest_metric` or more; the metrics of all of them are left out.
    """
    weights_type = weights_type_of(model)
    data_type = tff.SequenceType(tff.types.tensorflow_to_type(examples.element))

    @tf.function(autograph=False)
    def train(weights, data, factor):
        delta, metrics = update(tuple(weights.trainable), tuple(weights.non_trainable), data, factor)
        result, metrics, _ = sent_by_client(delta, metrics, data, weigh_by_examples, largest_metric)
        return result, metrics

    @tff.tensorflow.computation(weights_type, data_type, np.float32)
    def client_update(weights, data, factor):
        return train(weights, data.get_single_element(), factor)

    learning_rate_factor, next_round = counted(schedule)
    finalize = finalizing(model, client_update.type_signature.result[1])

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
