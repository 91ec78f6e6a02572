"""Distance correlation is what Székely et al. 2007 define, and the penalty on it lowers it."""

from __future__ import annotations

import numpy as np
import pytest


def by_definition(x, z):
    """dCor² by loops over pairs."""

    def centred(v):
        n = len(v)
        d = np.array([[np.linalg.norm(v[i] - v[j]) for j in range(n)] for i in range(n)])
        return d - d.mean(0) - d.mean(1)[:, None] + d.mean()

    a, b = centred(x), centred(z)
    return (a * b).mean() / np.sqrt((a * a).mean() * (b * b).mean())


@pytest.fixture
def dcor2(tensorflow):
    from fedlab.algorithms.split.leakage import squared_distance_correlation

    return squared_distance_correlation


def test_it_is_as_defined(dcor2):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, 2, 3)).astype(np.float32)
    z = (x[:, 0] ** 2 + rng.normal(size=(30, 3))).astype(np.float32)
    assert float(dcor2(x, z)) == pytest.approx(by_definition(x.reshape(30, 6), z), abs=1e-5)


def test_a_scaled_rotation_keeps_all_and_a_constant_nothing(dcor2):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(40, 5)).astype(np.float32)
    rotation = np.linalg.qr(rng.normal(size=(5, 5)))[0].astype(np.float32)
    assert float(dcor2(x, 3 * x @ rotation + 7)) == pytest.approx(1, abs=1e-4)
    assert float(dcor2(x, np.ones((40, 3), np.float32))) == 0


def test_independent_samples_have_little_and_less_the_more_there_are(dcor2):
    rng = np.random.default_rng(2)
    few, many = (float(dcor2(*rng.normal(size=(2, n, 2)).astype(np.float32))) for n in (20, 800))
    assert 0 < many < 0.02 < few


def test_its_gradient_is_finite_where_examples_are_equal_and_where_there_is_one(tensorflow, dcor2):
    tf = tensorflow
    for x, z in ((np.ones((3, 2)), [[0.0], [0.0], [1.0]]), (np.ones((1, 2)), [[2.0]]), (np.eye(3), [[0.0], [0.0], [1.0]])):
        z = tf.constant(z)
        with tf.GradientTape() as tape:
            tape.watch(z)
            value = dcor2(tf.constant(x, tf.float32), z)
        assert np.isfinite(tape.gradient(value, z)).all() and np.isfinite(value)


def test_the_penalty_lowers_it(cut_of):
    from fedlab.algorithms.split.turn import take_turn

    found, key = {}, np.array([1, 2])
    for penalty in (0.0, 3.0):
        cut = cut_of(penalty=penalty, batch_size=23)
        take_turn(cut.client, cut.server, np.tile(np.arange(23), (60, 1)), (key, key), np.float32(1), False)
        lower = cut.client.weights[: len(cut.parts[0].positions)]
        found[penalty] = cut.client._lower.distance_correlation(lower, cut.examples.x)
    assert found[3.0] < found[0.0] - 0.1
