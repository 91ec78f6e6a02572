"""The score: 0 for noise, 1 for real images, and what lies between in between."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from fedlab.models.functional import keras_weights
from fedlab.studies.attacks import inverting
from fedlab.studies.attacks.judge import accuracy, train_control
from fedlab.studies.attacks.scoring import Scorer
from fedlab.types import ExampleSet, Partition

SHAPE = (12, 12, 1)


def examples(n, seed, dtype=np.uint8, labels=(0, 1, 2)):
    """A bright square of each class's own place, on noise."""
    rng = np.random.default_rng(seed)
    y = np.resize(np.array(labels, np.int32), n)
    x = rng.integers(0, 60, (n, *SHAPE))
    for image, label in zip(x, y):
        image[3 * label : 3 * label + 5, 2:9] += 180
    return ExampleSet(x.astype(np.uint8) if dtype == np.uint8 else (x / 50 - 2).astype(np.float32), y, 3)


def judge(low, high):
    def logits(x):
        scaled = (x - low) / (high - low)
        return 40 * tf.stack([tf.reduce_mean(scaled[:, 3 * c : 3 * c + 5, 2:9], [1, 2, 3]) for c in range(3)], 1)

    return logits


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_noise_has_zero_and_real_images_have_one(dtype):
    train, test = examples(90, 0, dtype), examples(30, 1, dtype)
    low, high = (0.0, 1.0) if dtype == np.uint8 else (float(train.x.min()), float(train.x.max()))
    scorer = Scorer(judge(low, high), train, test, 0)
    assert scorer.score(scorer.noise) == 0 and scorer.score(scorer.real) == pytest.approx(1)
    assert scorer.class_mean.correlation == pytest.approx(1) and 0.8 < scorer.score(scorer.class_mean) < 1.5
    x = (test.x / 255 if dtype == np.uint8 else test.x).astype(np.float32)
    right, wrong = (scorer.measure(x, y) for y in (test.y, (test.y + 1) % 3))
    assert np.all(scorer.score(right) > 0.8) and np.all(scorer.score(wrong) < 0.5)
    noise = np.random.default_rng(2).uniform(low, high, (60, *SHAPE)).astype(np.float32)
    between = 0.5 * noise + 0.5 * np.resize(x, noise.shape)
    classes = np.resize(test.y, 60)
    low_end, middle = (scorer.score(scorer.measure(i.astype(np.float32), classes)).mean() for i in (noise, between))
    assert abs(low_end) < 0.1 < 0.3 < middle < 0.95


def test_a_flat_image_correlates_with_nothing():
    train = examples(90, 0)
    scorer = Scorer(judge(0.0, 1.0), train, examples(30, 1), 0)
    measures = scorer.measure(np.full((1, *SHAPE), 0.5, np.float32), np.array([0]))
    assert measures.correlation == [0] and np.all(np.isfinite(scorer.score(measures)))


def test_classes_that_nobody_has_are_left_out():
    scorer = Scorer(judge(0.0, 1.0), examples(60, 0, labels=(0, 2)), examples(30, 1), 0)
    assert scorer.classes.tolist() == [0, 2] and scorer.class_means.shape == (2, *SHAPE)


class Own(tf.keras.Model):
    def __init__(self, units=3, **options):
        super().__init__(**options)
        self.flat, self.dense = tf.keras.layers.Flatten(), tf.keras.layers.Dense(units)

    def call(self, x, training=False):
        return self.dense(self.flat(x))

    def get_config(self):
        return {"units": 3}


def test_a_control_is_a_network_of_the_same_class_also_of_ones_own():
    model, test = Own(), examples(60, 0)
    model.build((None, *SHAPE))
    before = keras_weights(model)
    control = train_control(model, test, 0)
    assert type(control) is Own and accuracy(control, test) > 0.9 and control.dense is not model.dense
    assert all(map(np.array_equal, before[0], keras_weights(model)[0]))


def test_clients_scores_are_split_by_the_classes_that_they_have_if_there_are_both_kinds():
    y, partition = np.array([0, 1, 1]), Partition(("a", "b"), (np.array([0]), np.array([1, 2])))

    def split(classes, *scores):
        rows = [{"name": f"client {name}", "noise": 0, "score_by_class": one} for name, one in zip("ab", scores)]
        return inverting._held(rows, np.array(classes), y, partition)

    assert split([0, 1], [0.8, 0.2], [0.4, 0.6]) == {"held_classes": 0.7, "other_classes": 0.3}
    assert split([1], [0.2], [0.6]) == {"held_classes": 0.6, "other_classes": 0.2}
    assert split([2], [0.2], [0.6]) == {}  # attack.target_class of other clients
