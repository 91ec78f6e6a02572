"""Recurrent layers with `dropout` and `recurrent_dropout`: the gradients are Keras', and the masks follow from the key alone."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import tensorflow as tf

from fedlab import lowering
from fedlab.engine import Compiled, Tff
from fedlab.models import functional

layers, keras = tf.keras.layers, tf.keras
STEPS, WIDTH, CLASSES, RATE = 4, 6, 5, 0.4
FIVE_SIGMA = 5.0


class Halves:
    """Drops every second value, in place of a generator of random masks."""

    @staticmethod
    def dropout(x, rate):
        kept = tf.cast(tf.range(tf.shape(x)[1]) % 2, x.dtype)
        return x * kept / (1 - rate)


def network(make, halves=False):
    def build():
        layer = make()
        model = keras.Sequential([keras.Input((STEPS, WIDTH)), layer, layers.Dense(CLASSES)])
        return halve(model) if halves else model

    return build


def halve(model):
    for part in model._flatten_layers():
        if hasattr(part, "get_recurrent_dropout_mask_for_cell"):
            part._random_generator = Halves()
    return model


def lifted(build, shape=(STEPS, WIDTH), classes=CLASSES):
    model = functional.initial_keras_model(build, 1)
    return model, functional.functional_classifier(build, functional.keras_weights(model), shape, classes)


RATES = {"dropout": RATE, "recurrent_dropout": RATE}
KINDS = {
    "lstm": lambda **rates: layers.LSTM(4, **rates),
    "gru": lambda **rates: layers.GRU(4, **rates),
    "gru_before": lambda **rates: layers.GRU(4, reset_after=False, implementation=1, **rates),
    "simple": lambda **rates: layers.SimpleRNN(4, **rates),
    "unrolled": lambda **rates: layers.LSTM(4, unroll=True, **rates),
    "bidirectional": lambda **rates: layers.Bidirectional(layers.LSTM(4, **rates)),
    "cells": lambda **rates: layers.RNN([layers.GRUCell(3, **rates), layers.LSTMCell(4, **rates)]),
}


@pytest.mark.sampled
@pytest.mark.parametrize("kind", KINDS)
def test_with_the_same_masks_a_gradient_is_that_of_keras(kind):
    model, ours = lifted(network(lambda: KINDS[kind](**RATES), halves=True))
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(3, STEPS, WIDTH)).astype(np.float32), rng.integers(0, CLASSES, 3)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        weights = tuple(tf.compat.v1.placeholder(w.dtype, w.shape) for w in ours.initial_weights[0])
        loss = ours.loss(output=ours.forward((weights, ()), tf.constant(x))[0], label=tf.constant(y))
        found = session.run([loss, *tf.gradients(loss, weights)], dict(zip(weights, ours.initial_weights[0])))
    with tf.GradientTape() as tape:
        expected = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(y, model(x, training=True))
    for mine, of_keras in zip(found, [expected, *tape.gradient(expected, model.trainable_variables)], strict=True):
        np.testing.assert_allclose(mine, of_keras, rtol=1e-4, atol=1e-6)
    without = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(y, model(x, training=False))
    assert abs(float(without) - found[0]) > 1e-4


def ones(unroll=True, **rates):
    """Sums what `dropout` leaves of ones over time, or multiplies what `recurrent_dropout` leaves: the outputs show the masks."""
    width = 40

    def build():
        inputs = keras.Input((STEPS, width))
        identity = dict(kernel_initializer="identity", recurrent_initializer="identity")
        return keras.Model(inputs, layers.SimpleRNN(width, "linear", **identity, unroll=unroll, **rates)(inputs))

    return lifted(build, (STEPS, width), width)[1], np.ones((25, STEPS, width), np.float32)


def possible(rates, masks):
    """Returns the outputs of `ones` for masks [STEPS], 1 where a place keeps its value."""
    state = 0.0
    for place, kept in enumerate(np.asarray(masks) / (1 - RATE)):
        state = state + kept if "dropout" in rates else 1 + state * kept if place else 1.0
    return round(state, 4)


@pytest.mark.parametrize("unroll", [True, False])
@pytest.mark.parametrize("rates", [{"dropout": RATE}, {"recurrent_dropout": RATE}], ids=lambda rates: next(iter(rates)))
def test_masks_are_those_of_keras_and_follow_from_the_key(logits_of, rates, unroll):
    """In a graph, as in `fit`, Keras draws a mask for all places only if the layer is unrolled, otherwise one for each place."""
    model, x = ones(unroll, **rates)
    a, again, other = (logits_of(model, model.initial_weights, x, True, key) for key in [(1, 1), (1, 1), (1, 2)])
    assert np.array_equal(a, again)
    masks = [[kept] * STEPS for kept in (0, 1)] if unroll else list(itertools.product((0, 1), repeat=STEPS))
    values = {possible(rates, mask) for mask in masks}
    assert sorted(set(np.round(a.ravel().astype(float), 2))) == sorted({round(v, 2) for v in values})
    last = np.isclose(a, np.round(a.max(), 4), atol=1e-3)  # kept at every place
    share = (1 - RATE) ** (1 if unroll else STEPS - ("recurrent_dropout" in rates))
    assert abs(last.mean() - share) < FIVE_SIGMA * np.sqrt(share * (1 - share) / last.size)
    for mask in (other, np.roll(a, 1, axis=0)):  # another key's, another example's
        assert abs(np.corrcoef(a.ravel(), mask.ravel())[0, 1]) < FIVE_SIGMA / np.sqrt(a.size)
    assert np.array_equal(logits_of(model, model.initial_weights, x), np.full_like(a, STEPS))


def test_every_step_of_a_loop_has_masks_of_its_own():
    import tensorflow_federated as tff

    model, x = ones(dropout=RATE)

    def computation(x):
        weights = tf.nest.map_structure(tf.constant, model.initial_weights)

        def body(i, outputs):
            output = model.predict_on_batch(weights, x, training=True)
            return i + 1, tf.tensor_scatter_nd_update(outputs, [[i]], [output])

        return tf.while_loop(lambda i, _: i < 3, body, [0, tf.zeros([3, 25, 40])])[1]

    call = lowering.load(tff.tensorflow.computation(computation, tff.TensorType(np.float32, x.shape)))
    key = tf.constant(np.array([3, 4], np.int64))
    masks = tf.function(lambda x: call(x, key=key)[0], autograph=False)(tf.constant(x)).numpy() != 0
    for i in range(3):
        found = np.corrcoef(masks[i].ravel(), masks[(i + 1) % 3].ravel())[0, 1]
        assert abs(found) < FIVE_SIGMA / np.sqrt(masks[0].size)


def recurrent(rate, recurrent_rate):
    def build(input_shape, num_classes):
        lstm = layers.LSTM(4, dropout=rate, recurrent_dropout=recurrent_rate)
        return keras.Sequential([keras.Input(input_shape), layers.Reshape((4, 16)), lstm, layers.Dense(num_classes)])

    return build


DROPPED = recurrent(0.3, 0.3)


def test_equal_keys_give_equal_bits_and_others_other_masks(lab):
    trainer = lab.trainer(model=DROPPED, examples=lab.examples(shape=(8, 8)))
    (once,) = lab.inputs(1)
    baseline = trainer.run([once])
    assert lab.same_bits(baseline.states[-1], trainer.run([once]).states[-1])
    for k in range(len(once.keys)):
        keys = once.keys.copy()
        keys[k, 1] += 1
        assert lab.distance(trainer.run([dataclasses.replace(once, keys=keys)]).weights[0], baseline.weights[0]) > 1e-4


def test_clients_side_by_side_get_the_same_bits(lab):
    inputs, examples = lab.inputs(2), lab.examples(shape=(8, 8))
    weights = [
        lab.trainer(model=DROPPED, examples=examples, engine=engine).run(inputs).weights[-1]
        for engine in (None, Compiled(parallel_clients=1))
    ]
    assert lab.same_bits(*weights)


@pytest.mark.slow
def test_tff_trains_the_same_with_the_same_masks(lab):
    """TFF's own runtime draws without a key."""

    def halved(input_shape, num_classes):
        stack = [keras.Input(input_shape), layers.Reshape((4, 16)), layers.GRU(4, **RATES), layers.Dense(num_classes)]
        return halve(keras.Sequential(stack))

    inputs, examples = lab.inputs(1), lab.examples(shape=(8, 8))
    compiled, tff = (lab.trainer(model=halved, examples=examples, engine=e, fresh=True) for e in (None, Tff()))
    assert lab.distance(compiled.run(inputs).weights[-1], tff.run(inputs).weights[-1]) < 1e-5


@pytest.mark.slow
def test_a_rate_of_zero_is_no_dropout(lab):
    inputs, examples = lab.inputs(2), lab.examples(shape=(8, 8))

    def plain(input_shape, num_classes):
        return keras.Sequential([keras.Input(input_shape), layers.Reshape((4, 16)), layers.LSTM(4), layers.Dense(num_classes)])

    models = (plain, recurrent(0.0, 0.0))
    weights = [lab.trainer(model=model, examples=examples, fresh=True).run(inputs).weights[-1] for model in models]
    assert lab.same_bits(*weights)
