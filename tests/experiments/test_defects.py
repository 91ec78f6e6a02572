"""Each mistake of the experiments in conf/experiment/difftest is wrong in one place, and in no other."""

from __future__ import annotations

import numpy as np

from fedlab.algorithms.optimizers import Exponential
from fedlab.experiments.defects import RoundTooEarly, SoftmaxTwice
from fedlab.models import Mlp


def test_a_schedule_off_by_one_is_another_schedule_by_one_round():
    right, wrong = Exponential(decay_rate=0.5, decay_rounds=3), RoundTooEarly(decay_rate=0.5, decay_rounds=3)
    assert [wrong.factor(r) for r in range(1, 9)] == [right.factor(r) for r in range(2, 10)]
    assert wrong.factor(3.0) == 0.5 * right.factor(3.0)


def test_softmax_twice_is_the_same_network_with_a_softmax_behind_it(tensorflow):
    tensorflow.keras.utils.set_random_seed(0)
    right = Mlp(hidden=(8,))((4, 4, 1), 3)
    tensorflow.keras.utils.set_random_seed(0)
    wrong = SoftmaxTwice(hidden=(8,))((4, 4, 1), 3)
    assert [w.shape for w in wrong.get_weights()] == [w.shape for w in right.get_weights()]

    wrong.set_weights(right.get_weights())
    x = np.random.default_rng(0).random((5, 4, 4, 1), np.float32)
    logits = right(x)
    np.testing.assert_allclose(wrong(x), tensorflow.nn.softmax(logits), rtol=1e-6)
    assert wrong.outputs_are_logits  # a model that ends in a softmax is refused otherwise
