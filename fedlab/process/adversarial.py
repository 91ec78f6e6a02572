"""What clients and the server compute in a federated GAN (Augenstein et al. 2020, algorithm 1).

The process's weights are the discriminator's, which clients train, and, in the place of those that they do not train, the
generator's. The generator is trained by the server alone, on noise and the discriminator: it never meets an example.
"""

from __future__ import annotations

import collections
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fedlab.models.adversarial import GanModel, as_images
from fedlab.process import Gan, LocalTraining
from fedlab.process.client_work import LocalUpdate, for_each_batch
from fedlab.process.steps import steps_of

_EPSILON = 1e-10  # below the root of the gradient's norm, as published: the root of 0 has no derivative


def discriminator_training(
    model: GanModel, optimizer: tff.learning.optimizers.Optimizer, client: LocalTraining, options: Gan
) -> LocalUpdate:
    """Batch by batch, the discriminator learns to tell a client's images from as many generated ones."""

    def update(discriminator, generator, data, factor):
        specs = tf.nest.map_structure(tf.TensorSpec.from_tensor, discriminator)
        carried, apply = steps_of(optimizer, optimizer.initialize(specs), factor)

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
    """Mean scores of two batches of one size, the gradient penalty, and the loss to be minimised."""
    real_score, fake_score = (tf.reduce_mean(model.score(weights, images)) for images in (real, fake))
    penalty = tf.constant(0.0)
    if options.gradient_penalty:
        penalty = gradient_penalty(model, weights, real, fake, tf.random.uniform([tf.shape(real)[0]]))
    loss = fake_score - real_score + options.gradient_penalty * penalty + _decay(options, weights)
    return dict(loss=loss, real_score=real_score, generated_score=fake_score, gradient_penalty=penalty)


def gradient_penalty(model: GanModel, weights: Any, real: tf.Tensor, fake: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
    """The mean of (|∂score / ∂image| − 1)², at images `share` [n] of the way from real to fake (Gulrajani et al. 2017)."""
    between = real + tf.reshape(share, [-1] + [1] * (len(real.shape) - 1)) * (fake - real)
    with tf.GradientTape() as tape:
        tape.watch(between)
        scores = model.score(weights, between)
    squares = tf.square(tape.gradient(scores, between))
    norms = tf.sqrt(tf.reduce_sum(squares, list(range(1, len(real.shape)))) + _EPSILON)
    return tf.reduce_mean(tf.square(norms - 1.0))


def _decay(options: Gan, weights: Any) -> tf.Tensor:
    """The sum of all squared kernels, biases left out, times the weight decay."""
    if not options.weight_decay:
        return tf.constant(0.0)
    return options.weight_decay * tf.add_n([tf.reduce_sum(tf.square(w)) for w in weights if len(w.shape) > 1])


def generator_loss(model: GanModel, generator: Any, discriminator: Any, noise: tf.Tensor, options: Gan) -> tf.Tensor:
    """High where the discriminator is not deceived."""
    return _decay(options, generator) - tf.reduce_mean(model.score(discriminator, model.generate(generator, noise)))


def finalizer_process(
    model: GanModel, optimizer: tff.learning.optimizers.Optimizer, options: Gan
) -> tff.learning.templates.FinalizerProcess:
    """The server's slot: `optimizer` applies the discriminator's update, then the generator takes its steps.

    Its state is that of both optimizers and the number of the generator's steps so far. An update with a NaN or an infinity in it
    is left out (`update_non_finite`), and so is a round's training of the generator that ends in one (`generator_non_finite`).
    """
    generator_optimizer = options.generator_steps_by.build()
    discriminator_specs, generator_specs = (
        tuple(tf.TensorSpec(np.shape(w), np.float32) for w in ws) for ws in model.initial_weights
    )
    weights_type = tff.types.tensorflow_to_type(tff.learning.models.ModelWeights(discriminator_specs, generator_specs))

    @tff.tensorflow.computation
    def initial_state():
        return collections.OrderedDict(
            discriminator=optimizer.initialize(discriminator_specs),
            generator=generator_optimizer.initialize(generator_specs),
            generator_steps=tf.constant(0),
        )

    @tf.function(autograph=False)
    def train(state, weights, update):
        discriminator, generator = tuple(weights.trainable), tuple(weights.non_trainable)
        moved_state, moved = optimizer.next(state["discriminator"], discriminator, tuple(update))
        fits = _finite(update)
        discriminator_state, discriminator = _chosen(fits, (moved_state, tuple(moved)), (state["discriminator"], discriminator))
        carried, apply = steps_of(generator_optimizer, state["generator"])

        def step(i, trained, carried, total):
            noise = model.noise(options.generator_batch_size)
            with tf.GradientTape() as tape:
                tape.watch(trained)
                loss = generator_loss(model, trained, discriminator, noise, options)
            trained, carried = apply(trained, tuple(tape.gradient(loss, trained)), carried)
            return i + 1, trained, carried, total + loss

        steps = options.generator_steps
        _, trained, after, total = tf.while_loop(
            lambda i, *_: i < steps, step, (tf.constant(0), generator, carried, tf.constant(0.0)), parallel_iterations=1
        )
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


def _finite(tensors: Any) -> tf.Tensor:
    return tf.reduce_all([tf.reduce_all(tf.math.is_finite(t)) for t in tf.nest.flatten(tensors)])


def _chosen(condition: tf.Tensor, yes: Any, no: Any) -> Any:
    """The one structure or the other."""
    return tf.nest.map_structure(lambda a, b: tf.where(condition, a, b), yes, no)
