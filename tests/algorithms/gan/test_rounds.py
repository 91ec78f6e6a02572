"""Rounds of a federated GAN against training written out by hand, on every engine, with noise, masks and broken clients."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from fedlab.algorithms import Gan
from fedlab.algorithms.adversarial import gradient_penalty
from fedlab.algorithms.optimizers import Adam, Sgd
from fedlab.engine import SecureSumming, Tff
from fedlab.models import Gan as Networks
from fedlab.models.adversarial import GanModel
from fedlab.privacy import FixedSize, GaussianFixed
from fedlab.secure import Masked

from .conftest import NETWORKS, SMALL

RATE, GENERATOR_RATE = 0.05, 0.1


@pytest.fixture
def same_noise(monkeypatch):
    """Every draw of noise gives the same numbers, so that whoever trains has met the same images."""
    table = np.random.default_rng(5).normal(size=(64, NETWORKS.noise_dimension)).astype(np.float32)
    monkeypatch.setattr(GanModel, "noise", lambda self, n: tf.constant(table)[:n])
    monkeypatch.setattr(tf.random, "uniform", lambda shape: tf.linspace(0.1, 0.9, shape[0]))


def by_hand(model, weights, images, options, steps):
    """One client's round with Keras models, tapes and assignments: the discriminator's and the generator's weights after it."""
    generator, discriminator = model.generator.model, model.discriminator.model
    discriminator.set_weights(weights[: len(discriminator.weights)])
    generator.set_weights(weights[len(discriminator.weights) :])

    def decay(network):
        return options.weight_decay * sum(tf.reduce_sum(w**2) for w in network.weights if len(w.shape) > 1)

    def score(images):
        return tf.reduce_mean(discriminator(images, training=True))

    def step(network, rate, tape, loss):
        for variable, gradient in zip(network.trainable_variables, tape.gradient(loss, network.trainable_variables)):
            variable.assign_sub(rate * gradient)

    for batch in steps:
        real = tf.constant(images[batch].astype(np.float32) / 127.5 - 1)
        fake = generator(model.noise(len(batch)), training=True)
        with tf.GradientTape() as tape:
            loss = score(fake) - score(real) + decay(discriminator)
        step(discriminator, RATE, tape, loss)
    for _ in range(options.generator_steps):
        with tf.GradientTape() as tape:
            fake = generator(model.noise(options.generator_batch_size), training=True)
            loss = decay(generator) - score(fake)
        step(generator, GENERATOR_RATE, tape, loss)
    return [w.numpy() for network in (discriminator, generator) for w in network.weights]


OPTIONS = Gan(
    gradient_penalty=0, weight_decay=0.01, generator_steps=2, generator_batch_size=7, generator_learning_rate=GENERATOR_RATE
)


def test_without_a_penalty_one_clients_round_is_training_by_hand(gans, lab, same_noise):
    (round_input,) = lab.inputs(1, clients=[2])
    ((mine, order),) = lab.clients(round_input)
    engine = gans.engine(OPTIONS, client_optimizer=Sgd(learning_rate=RATE))
    start = gans.weights(engine, engine.initialize(np.array([1, 2])))
    _, trained, (metrics,) = gans.run(engine, [round_input])
    steps = [mine[order[0, i : i + 5]] for i in (0, 5, 10)]  # of 20 examples, in at most three batches of five
    expected = by_hand(gans.model(), start, gans.examples.x, OPTIONS, steps)
    assert lab.distance(trained, expected) < 1e-5
    assert lab.distance(trained, start) > 1e-3
    assert metrics["client_work/train/num_examples"] == 15


def test_the_gradient_penalty_is_that_of_finite_differences(gans):
    """The gradient of the score by each pixel, one at a time, in float32: by ±1e-2, where the network is all but linear."""
    model, rng = gans.model(), np.random.default_rng(1)
    weights = [tf.constant(w) for w in model.initial_weights[0]]
    real, fake = (rng.uniform(-1, 1, (3, 4, 4, 1)).astype(np.float32) for _ in range(2))
    share = np.array([0.2, 0.5, 0.9], np.float32)
    between = real + share[:, None, None, None] * (fake - real)
    score = tf.function(lambda images: model.score(weights, images))
    slopes, h = np.zeros((3, 16)), 1e-2
    for pixel in range(16):
        shift = np.zeros((1, 16), np.float32)
        shift[0, pixel] = h
        shift = shift.reshape(1, 4, 4, 1)
        slopes[:, pixel] = (score(between + shift) - score(between - shift)) / (2 * h)
    expected = np.mean((np.linalg.norm(slopes, axis=1) - 1) ** 2)
    found = tf.function(lambda: gradient_penalty(model, weights, real, fake, share))()
    assert float(found) == pytest.approx(expected, rel=1e-2)
    assert expected > 0.01


def test_the_penaltys_own_gradient_is_that_of_finite_differences(gans):
    """Along a random direction in the space of weights, second derivatives of the score included."""
    model, rng = gans.model(Networks(**SMALL, discriminator_normalization="layer")), np.random.default_rng(2)
    weights = [tf.constant(w) for w in model.initial_weights[0]]
    real, fake = (rng.uniform(-1, 1, (3, 4, 4, 1)).astype(np.float32) for _ in range(2))
    direction = [rng.normal(size=w.shape).astype(np.float32) for w in weights]

    @tf.function
    def penalty(at):
        return gradient_penalty(model, at, real, fake, [0.2, 0.5, 0.9])

    @tf.function
    def slope(at):
        with tf.GradientTape() as tape:
            tape.watch(at)
            value = penalty(at)
        gradients = tape.gradient(value, at, unconnected_gradients="zero")
        return tf.add_n([tf.reduce_sum(g * d) for g, d in zip(gradients, direction)])

    h = 1e-3
    ahead, behind = (penalty([w + s * h * d for w, d in zip(weights, direction)]) for s in (1, -1))
    assert float(slope(weights)) == pytest.approx(float(ahead - behind) / (2 * h), rel=1e-2)


@pytest.mark.parametrize(
    "networks",
    [NETWORKS, pytest.param(Networks(**{**SMALL, "discriminator_hidden": (6,)}), marks=pytest.mark.slow)],
    ids=["no_normalization", "batch_statistics"],
)
def test_engines_agree_on_the_same_noise(gans, lab, same_noise, networks):
    inputs = lab.inputs(2)
    options = dict(
        networks=networks,
        client_optimizer=Adam(learning_rate=0.001),
        server_optimizer=Sgd(learning_rate=1.0, momentum=0.5),
    )
    gan = Gan(generator_optimizer="adam", generator_steps=2, generator_batch_size=7)
    stock = gans.engine(gan, Tff(), **options)
    try:
        compiled = gans.engine(gan, **options)
        (_, ours, metrics), (_, theirs, stock_metrics) = gans.run(compiled, inputs), gans.run(stock, inputs)
    finally:
        stock.close()
    assert compiled.state_names == stock.state_names
    assert lab.distance(ours, theirs) < 1e-4
    for name, value in stock_metrics[-1].items():
        assert metrics[-1][name] == pytest.approx(value, rel=1e-3, abs=1e-5), name


def test_same_seed_same_bits_and_state_is_all_there_is(gans, lab):
    """Noise is drawn in every step; a round from a saved state is the round that would have followed."""
    engine, inputs = gans.usual_engine(), lab.inputs(3)
    state, weights, _ = gans.run(engine, inputs)
    assert lab.same_bits(gans.run(engine, inputs)[0], state)
    between = [np.asarray(t) for t in gans.run(engine, inputs[:2])[0]]
    assert lab.same_bits(gans.run(engine, inputs[2:], [tf.constant(t) for t in between])[0], state)
    other_key = dataclasses.replace(inputs[2], server_key=inputs[2].server_key + 1)
    assert not lab.same_bits(gans.run(engine, [*inputs[:2], other_key])[1], weights)


def test_a_client_whose_images_are_not_numbers_counts_for_nothing(gans, lab):
    broken = lab.examples(shape=(4, 4, 1), dtype=np.float32)
    (round_input,) = lab.inputs(1)
    lost = lab.clients(round_input)[1][0]
    broken.x[lost] = np.nan
    engine = gans.engine(examples=broken)
    state, weights, (metrics,) = gans.run(engine, [round_input])
    assert metrics["client_work/non_finite_clients"] == 1
    assert all(np.isfinite(w).all() for w in weights)
    assert np.isfinite(metrics["client_work/train/loss"])
    steps = dict(zip(engine.state_names, state))["finalizer", "generator_steps"]
    assert int(steps) == Gan().generator_steps


def test_a_generator_that_diverges_is_left_as_it_was(gans, lab):
    engine = gans.engine(Gan(generator_learning_rate=1e38))
    start = gans.weights(engine, engine.initialize(np.array([1, 2])))
    state, weights, (metrics,) = gans.run(engine, lab.inputs(1))
    assert metrics["finalizer/generator_non_finite"] == 1 and metrics["finalizer/update_non_finite"] == 0
    count = len(gans.model().initial_weights[0])
    assert lab.same_bits(weights[count:], start[count:]) and not lab.same_bits(weights[:count], start[:count])
    assert int(dict(zip(engine.state_names, state))["finalizer", "generator_steps"]) == 0


def test_masked_sums_are_plain_sums(gans, lab):
    inputs = lab.inputs(2)
    plain, masked = gans.usual_engine(), gans.engine(summing=SecureSumming(Masked(), len(lab.sizes), 3, 2, adds_noise=False))
    try:
        assert lab.distance(gans.run(masked, inputs)[1], gans.run(plain, inputs)[1]) < 1e-4
    finally:
        masked.close()


@pytest.mark.parametrize("noise_multiplier", [pytest.param(0.0, marks=pytest.mark.slow), 50.0])
def test_clipped_updates_with_noise(gans, lab, noise_multiplier):
    """Without noise, the discriminator moves by no more than the clip norm; with much of it, as the noise does."""
    clip_norm, sampling = 0.01, FixedSize(100, len(lab.sizes))
    plan = GaussianFixed(clip_norm=clip_norm, noise_multiplier=noise_multiplier).plan(sampling, 1)
    engine = gans.engine(aggregator=plan.aggregator(0), takes_weights=False)
    start = gans.weights(engine, engine.initialize(np.array([17, 4])))
    _, weights, _ = gans.run(engine, lab.inputs(1))
    count = len(gans.model().initial_weights[0])
    moved = np.sqrt(sum(((a - b) ** 2).sum() for a, b in zip(weights[:count], start)))
    if not noise_multiplier:
        assert 0 < moved <= clip_norm * 1.001
    else:  # in every coordinate: the noise of the sum, divided by the cohort
        stddev = noise_multiplier * clip_norm / len(lab.sizes)
        assert moved == pytest.approx(stddev * np.sqrt(sum(w.size for w in start[:count])), rel=0.3)
