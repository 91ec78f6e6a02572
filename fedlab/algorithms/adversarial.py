"""The client step and the server step of a federated GAN (Augenstein et al. 2020, algorithm 1).

The process's trainable weights are the discriminator's, which clients train; its non-trainable weights are the generator's. The
server alone trains the generator, on noise and the discriminator; the generator's training uses no example.
"""

from __future__ import annotations

import collections
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fedlab.algorithms.client_work import LocalUpdate, for_each_batch
from fedlab.algorithms.gan import Gan
from fedlab.algorithms.local import LocalTraining
from fedlab.algorithms.steps import first_steps, steps_of
from fedlab.models.adversarial import GanModel, as_images

_EPSILON = 1e-10  # added under the root of the gradient's norm, as published: the root has no derivative at 0


def discriminator_training(
    model: GanModel, optimizer: tff.learning.optimizers.Optimizer, client: LocalTraining, options: Gan
) -> LocalUpdate:
    """Returns the client step: in each batch the discriminator learns to separate a client's images from generated ones."""

    def update(discriminator, generator, data, factor):
        carried, apply = first_steps(optimizer, discriminator, factor)

        def step(x, y, weights, carried, metrics):
            real = as_images(x)
            fake = model.generate(generator, model.noise(tf.shape(real)[0]))
            with tf.GradientTape() as tape:
                tape.watch(weights)
                scores = discriminator_scores(model, weights, real, fake, options)
            gradient = tuple(tape.gradient(scores["loss"], weights))
            weights, carried = apply(weights, gradient, carried)
            return weights, carried, model.update_metrics_state(metrics, tf.shape(real)[0], **scores)

        start = (discriminator, carried, model.initialize_metrics_state())
        trained, _, metrics = for_each_batch(step, start, data, client.batch_size, client.max_local_steps)
        return tuple(w0 - w for w0, w in zip(discriminator, trained)), metrics

    return update


def discriminator_scores(model: GanModel, weights: Any, real: tf.Tensor, fake: tf.Tensor, options: Gan) -> dict[str, tf.Tensor]:
    """Returns the mean scores of two batches of equal size, the gradient penalty, and the loss to minimise."""
    real_score, fake_score = (tf.reduce_mean(model.score(weights, images)) for images in (real, fake))
    penalty = tf.constant(0.0)
    if options.gradient_penalty:
        penalty = gradient_penalty(model, weights, real, fake, tf.random.uniform([tf.shape(real)[0]]))
    loss = fake_score - real_score + options.gradient_penalty * penalty + _decay(options, weights)
    return dict(loss=loss, real_score=real_score, generated_score=fake_score, gradient_penalty=penalty)


def gradient_penalty(model: GanModel, weights: Any, real: tf.Tensor, fake: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
    """Returns the mean of (|∂score / ∂image| − 1)², at images `share` [n] of the way from real to fake.

    Source: Gulrajani et al. 2017.
    """
    between = real + tf.reshape(share, [-1] + [1] * (len(real.shape) - 1)) * (fake - real)
    with tf.GradientTape() as tape:
        tape.watch(between)
        scores = model.score(weights, between)
    squares = tf.square(tape.gradient(scores, between))
    norms = tf.sqrt(tf.reduce_sum(squares, list(range(1, len(real.shape)))) + _EPSILON)
    return tf.reduce_mean(tf.square(norms - 1.0))


def _decay(options: Gan, weights: Any) -> tf.Tensor:
    """Returns the sum of all squared kernels, without biases, times the weight decay."""
    if not options.weight_decay:
        return tf.constant(0.0)
    return options.weight_decay * tf.add_n([tf.reduce_sum(tf.square(w)) for w in weights if len(w.shape) > 1])


def generator_loss(model: GanModel, generator: Any, discriminator: Any, noise: tf.Tensor, options: Gan) -> tf.Tensor:
    """Returns the generator's loss, which is high if the discriminator recognises generated images."""
    return _decay(options, generator) - tf.reduce_mean(model.score(discriminator, model.generate(generator, noise)))


def finalizer_process(
    model: GanModel, optimizer: tff.learning.optimizers.Optimizer, options: Gan
) -> tff.learning.templates.FinalizerProcess:
    """Returns the server's slot: `optimizer` applies the discriminator's update, then the generator takes its steps.

    Its state contains the states of both optimizers and the number of the generator's steps so far. An update with a NaN or an
    infinity is skipped (`update_non_finite`), and so is a round's training of the generator that ends in one
    (`generator_non_finite`).
    """
    generator_optimizer = options.generator_steps_by.build()
    specs = (tuple(tf.TensorSpec(np.shape(w), np.float32) for w in ws) for ws in model.initial_weights)
    discriminator_specs, generator_specs = specs
    weights_type = tff.types.tensorflow_to_type(tff.learning.models.ModelWeights(discriminator_specs, generator_specs))
    train = _server_step(model, optimizer, generator_optimizer, options)

    @tff.tensorflow.computation
    def initial_state():
        return collections.OrderedDict(
            discriminator=optimizer.initialize(discriminator_specs),
            generator=generator_optimizer.initialize(generator_specs),
            generator_steps=tf.constant(0),
        )

    @tff.tensorflow.computation(initial_state.type_signature.result, weights_type, weights_type.trainable)
    def server_update(state, weights, update):
        return train(state, weights, update)

    @tff.federated_computation
    def init():
        return tff.federated_eval(initial_state, tff.SERVER)

    @tff.federated_computation(
        init.type_signature.result,
        tff.FederatedType(weights_type, tff.SERVER),
        tff.FederatedType(weights_type.trainable, tff.SERVER),
    )
    def next_fn(state, weights, update):
        state, weights, metrics = tff.federated_map(server_update, (state, weights, update))
        return tff.templates.MeasuredProcessOutput(state, weights, metrics)

    return tff.learning.templates.FinalizerProcess(init, next_fn)


def _server_step(
    model: GanModel,
    optimizer: tff.learning.optimizers.Optimizer,
    generator_optimizer: tff.learning.optimizers.Optimizer,
    options: Gan,
) -> Callable[..., tuple]:
    """Returns a graph: (state, weights, the discriminator's update) → (new state, new weights, metrics)."""
    steps = options.generator_steps

    @tf.function(autograph=False)
    def train(state, weights, update):
        discriminator, generator = tuple(weights.trainable), tuple(weights.non_trainable)
        moved_state, moved = optimizer.next(state["discriminator"], discriminator, tuple(update))
        fits = _finite(update)
        discriminator_state, discriminator = _chosen(fits, (moved_state, tuple(moved)), (state["discriminator"], discriminator))
        carried, apply = steps_of(generator_optimizer, state["generator"])
        trained, after, total = _trained_generator(model, apply, generator, carried, discriminator, options)
        sound = _finite(trained)
        carried, generator = _chosen(sound, (after, trained), (carried, generator))
        new_state = collections.OrderedDict(
            discriminator=discriminator_state,
            generator=collections.OrderedDict((k, carried.get(k, v)) for k, v in state["generator"].items()),
            generator_steps=state["generator_steps"] + tf.where(sound, steps, 0),
        )
        metrics = collections.OrderedDict(
            generator_loss=total / steps,
            update_non_finite=1 - tf.cast(fits, tf.int32),
            generator_non_finite=1 - tf.cast(sound, tf.int32),
        )
        return new_state, tff.learning.models.ModelWeights(discriminator, generator), metrics

    return train


def _trained_generator(
    model: GanModel, apply: Callable, generator: Any, carried: Any, discriminator: Any, options: Gan
) -> tuple[Any, Any, tf.Tensor]:
    """Trains the generator against a fixed `discriminator`, in a graph.

    `apply`, `carried`: as `steps_of` returns them. Returns the weights, the new `carried`, and the sum of the steps' losses.
    """

    def step(i, trained, carried, total):
        noise = model.noise(options.generator_batch_size)
        with tf.GradientTape() as tape:
            tape.watch(trained)
            loss = generator_loss(model, trained, discriminator, noise, options)
        trained, carried = apply(trained, tuple(tape.gradient(loss, trained)), carried)
        return i + 1, trained, carried, total + loss

    start = (tf.constant(0), generator, carried, tf.constant(0.0))
    _, trained, after, total = tf.while_loop(lambda i, *_: i < options.generator_steps, step, start, parallel_iterations=1)
    return trained, after, total


def _finite(tensors: Any) -> tf.Tensor:
    return tf.reduce_all([tf.reduce_all(tf.math.is_finite(t)) for t in tf.nest.flatten(tensors)])


def _chosen(condition: tf.Tensor, yes: Any, no: Any) -> Any:
    """Returns `yes` if `condition` holds, else `no`; both have the same structure."""
    return tf.nest.map_structure(lambda a, b: tf.where(condition, a, b), yes, no)
