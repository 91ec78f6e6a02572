"""The descent: its gradient, its range, its best start, its bits."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from fedlab.errors import ConfigError
from fedlab.studies.attacks.inversion import Inverter, gradient, objective, start_images
from fedlab.studies.attacks.model_inversion import Descent

SHAPE, CLASSES = (6, 5, 1), np.array([0, 1, 3])
DESCENT = Descent(iterations=40, learning_rate=0.05, tv_weight=1e-3, l2_weight=1e-2)


def linear(dtype=np.float32, scale=1.0, low=0.0):
    """A linear softmax model of four classes, of which each likes pixels of its own."""
    weights = tf.constant(np.random.default_rng(0).normal(0, scale, (30, 4)), dtype)
    return lambda x: tf.reshape(x - low, [-1, 30]) @ weights


@pytest.fixture(scope="module")
def inverter():
    return Inverter(linear(), SHAPE, 0.0, 1.0)


def test_the_gradient_matches_finite_differences():
    model, rng = linear(np.float64), np.random.default_rng(1)
    x, classes = rng.random((3, *SHAPE)), tf.constant([0, 3, 1])

    weights = tf.constant(0.3, tf.float64), tf.constant(0.7, tf.float64)

    def value(x):
        return objective(model, x, classes, *weights)

    found = gradient(model, tf.constant(x), classes, *weights).numpy()
    step = 1e-6
    for place in rng.integers(0, (3, *SHAPE), (20, 4)):
        moved = np.zeros_like(x)
        moved[tuple(place)] = step
        difference = (value(tf.constant(x + moved)) - value(tf.constant(x - moved))) / (2 * step)
        assert np.isclose(found[tuple(place)], difference[place[0]], rtol=1e-5, atol=1e-7)
        assert np.count_nonzero(difference) == 1  # an image takes no part in another's objective


def test_the_objective_is_what_it_is_on_paper():
    x = np.random.default_rng(2).random((1, *SHAPE)).astype(np.float32)
    logits = linear()(x).numpy()[0].astype(np.float64)
    cross_entropy = np.log(np.exp(logits).sum()) - logits[2]
    variation = np.abs(np.diff(x, axis=1)).sum() + np.abs(np.diff(x, axis=2)).sum()
    expected = cross_entropy + 0.25 * variation + 0.5 * np.sum(x**2)
    assert objective(linear(), tf.constant(x), tf.constant([2]), 0.25, 0.5).numpy() == pytest.approx([expected], rel=1e-5)


def test_iterations_lower_the_objective_and_the_best_start_is_kept(inverter):
    short, long = (inverter(CLASSES, 4, Descent(n, 0.05, 1e-3, 1e-2), 0) for n in (5, 40))
    assert np.all(short.objectives < short.before) and np.all(long.objectives < short.objectives)
    kept = objective(linear(), tf.constant(long.images), tf.constant(CLASSES.astype(np.int32)), 1e-3, 1e-2).numpy()
    assert np.allclose(kept, long.objectives.min(axis=1), rtol=1e-5) and len(np.unique(long.objectives)) == 12
    assert long.images.shape == (3, *SHAPE) and np.array_equal(long.objective, long.objectives.min(axis=1))


def test_equal_seeds_give_equal_bits_and_nothing_is_traced_again(inverter):
    one, two, other = (inverter(CLASSES, 2, DESCENT, seed) for seed in (0, 0, 1))
    assert one.images.tobytes() == two.images.tobytes() and one.images.tobytes() != other.images.tobytes()
    assert inverter.num_traces == 1


def test_losses_and_shares_are_those_of_the_kept_starts(inverter):
    found = inverter(CLASSES, 2, DESCENT, 0, loss_every=15)
    assert found.recorded.tolist() == [0, 15, 30, 40] and found.losses.shape == (4, 3)
    kept = np.arange(3), found.objectives.argmin(1)
    assert np.array_equal(found.losses[0], found.before[kept]) and np.array_equal(found.losses[-1], found.objective)
    shorter = inverter(CLASSES, 2, Descent(15, *list(vars(DESCENT).values())[1:]), 0)
    assert np.allclose(found.losses[1], shorter.objectives[kept], rtol=1e-5)
    one = inverter(CLASSES, 1, Descent(1, 0.05, 1e-3, 1e-2), 0)
    taken = linear()(tf.constant(start_images(3, SHAPE, 0.0, 1.0, 0))).numpy().argmax(1)
    assert np.array_equal(one.shares, taken == CLASSES)  # of the only iteration, which begins with the start image
    assert np.all(inverter(CLASSES, 2, Descent(200, 0.05, 0, 0), 0).shares > 0.9)  # the linear model is soon convinced


def test_a_single_class_has_the_image_that_it_has_among_all(inverter):
    every, one = inverter(CLASSES, 4, DESCENT, 0), inverter(CLASSES, 4, DESCENT, 0, target=1)
    assert one.images.shape == (1, *SHAPE) and np.allclose(one.images[0], every.images[1], atol=1e-4)
    assert np.allclose(one.before[0], every.before[1], rtol=1e-5)


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-2.0, 3.0)])
def test_images_stay_in_the_range_of_a_pixel(low, high):
    found = Inverter(linear(scale=5, low=low), SHAPE, low, high)(CLASSES, 1, Descent(30, (high - low) / 3, 0, 0), 0)
    assert found.images.min() == low and found.images.max() == high  # it wants to go further either way
    starts = start_images(50, SHAPE, low, high, 0)
    assert low <= starts.min() < low + 0.1 and high - 0.1 < starts.max() <= high


@pytest.mark.parametrize("weight", [np.inf, np.nan, 3e38])
def test_a_model_of_nonsense_gives_an_image_all_the_same(weight):
    found = Inverter(lambda x: linear()(x) * tf.constant(weight, tf.float32), SHAPE, 0.0, 1.0)(CLASSES, 2, DESCENT, 0)
    assert np.all(np.isfinite(found.images)) and np.all(np.isfinite(found.objectives))


def test_what_is_null_follows_the_target():
    from fedlab.studies.attacks.model_inversion import ModelInversion

    assert ModelInversion().descent == Descent(2000, 0.01, 1e-5, 1e-3)
    assert ModelInversion(target="clients").descent.iterations == 400
    assert ModelInversion(target="clients", iterations=7, tv_weight=0).descent == Descent(7, 0.1, 0.0, 1e-3)
    assert ModelInversion(target="clients").server_descent == ModelInversion(target="clients").descent
    own = ModelInversion(target="clients", server_iterations=2000, server_tv_weight=0)
    assert own.server_descent == Descent(2000, 0.1, 0.0, 1e-3) and own.descent.iterations == 400
    ModelInversion(target_class=3).check_classes([0, 3])
    with pytest.raises(ConfigError, match="target_class=3: the data has no such class: choose one of 0, 1, 2"):
        ModelInversion(target_class=3).check_classes([0, 1, 2])
    with pytest.raises(ValueError, match="server_iterations is for target=clients alone, got target=global"):
        ModelInversion(server_iterations=5)
    with pytest.raises(ValueError, match="file is for target=file alone"):
        ModelInversion(target="file")
    with pytest.raises(ValueError, match="file is for target=file alone"):
        ModelInversion(file="model.keras")
