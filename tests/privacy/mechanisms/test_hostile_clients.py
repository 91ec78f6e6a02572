"""The contract of all mechanisms on all engines: whatever a client sends, it moves the sum by the clip norm at most, along its
own direction, the round gets its noise, and no error ends the round.

Clients here do not train. A client sends an update whose coordinates all are what its first image holds, and the metrics that its
second one holds.
"""

from __future__ import annotations

import collections

import numpy as np
import pytest
import tensorflow as tf

from fedlab.algorithms import LARGEST_METRIC, LocalTraining, Parts
from fedlab.algorithms.client_work import ExampleSpec
from fedlab.algorithms.composing import learning_process
from fedlab.algorithms.optimizers import Sgd
from fedlab.engine import Compiled, SecureSumming, Tff
from fedlab.models import Perceptron
from fedlab.privacy import LARGEST_NORM, LEAST_NORM, FixedSize, GaussianAdaptive, GaussianFixed, Tree
from fedlab.privacy.bounding import bounded
from fedlab.secure import Ckks, Masked
from fedlab.types import ExampleSet, Partition

COHORT, BOUND, NOISE = 3, 0.05, 0.01
HUGE = [1e12, 1e18, 1.9e19, 3.4e38, -3.4e38, np.inf, -np.inf, np.nan]
# (update, metrics) of each client. Two send nothing but zeros; the third is honest
SENT = [(0.0, 0.0), (0.0, 0.0), (1.0, 1.0), *((value, 1.0) for value in HUGE), *((1.0, value) for value in HUGE)]
MECHANISMS = {
    "fixed": GaussianFixed(noise_multiplier=NOISE, clip_norm=BOUND),
    "adaptive": GaussianAdaptive(noise_multiplier=NOISE, initial_clip_norm=BOUND, clipped_count_stddev=10.0),
    "tree": Tree(noise_multiplier=NOISE, clip_norm=BOUND),
}
ENGINES = {
    "compiled": Compiled(),
    "masked": Masked(),
    "masked_32_bits": Masked(bits=32, clip_range=8.0),
    "ckks": Ckks(num_workers=1),
    "tff": Tff(),
}
DEFAULT = {("fixed", "masked"), ("fixed", "tff"), ("adaptive", "masked"), ("tree", "compiled")}


def sends_what_it_holds(trainable, non_trainable, data, factor):
    """A `LocalUpdate`."""
    given, measured = data["x"][0, 0, 0, 0], data["x"][1, 0, 0, 0]
    update = tuple(given * tf.ones_like(w) for w in trainable)
    return update, collections.OrderedDict(loss=measured, correct=measured, num_examples=measured)


class Federation:
    """Such clients, with a mechanism, on an engine or (compiled) under a secure sum."""

    def __init__(self, lab, spec, on, sent=SENT):
        x = np.array(sent, np.float32).reshape(-1, 1, 1, 1) * np.ones((1, 4, 4, 1), np.float32)
        self.lab, examples = lab, ExampleSet(x, np.zeros(len(x), np.int32), 4)
        self.partition = Partition(tuple(map(str, range(len(sent)))), tuple(np.arange(len(x)).reshape(-1, 2)))
        self.largest_metric = min(LARGEST_METRIC, getattr(on, "largest_float", np.inf))
        parts = Parts(
            model=lab.functional(Perceptron(), examples)[0],
            examples=ExampleSpec.of(examples),
            client=LocalTraining(),
            client_optimizer=Sgd(learning_rate=1.0),
            aggregator=spec.plan(FixedSize(COHORT, COHORT), 10).aggregator(0),
            takes_weights=False,
            largest_metric=self.largest_metric,
            num_clients=len(sent),
            num_examples=len(x),
        )
        process = learning_process(parts, sends_what_it_holds, weigh_by_examples=False)
        if isinstance(on, (Compiled, Tff)):
            self.engine = on.build(process, examples)
        else:
            self.engine = Compiled().build(process, examples, SecureSumming(on.under_noise(), COHORT, 33, 10, adds_noise=True))

    def weights(self, state):
        named = zip(self.engine.state_names, state)
        return np.concatenate([np.ravel(t) for name, t in named if name[0] == "global_model_weights"]).astype(np.float64)

    def round(self, state, *clients):
        """The next state, the metrics, and the aggregate, which the server subtracts."""
        [given] = self.lab.inputs(1, partition=self.partition, clients=clients)
        after, metrics = self.engine.next(state, given)
        return after, metrics, self.weights(state) - self.weights(after)

    def start(self):
        return self.engine.initialize(np.array([17, 4]))


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("mechanism", "on"),
    [
        pytest.param(m, e, id=f"{m}-{e}", marks=[] if (m, e) in DEFAULT else [pytest.mark.slow])
        for m in MECHANISMS
        for e in ENGINES
    ],
)
def test_influence_is_bounded_noise_is_added_and_metrics_are_left_out(lab, mechanism, on):
    """The update points along `ones`; across it there is only noise. TFF's runtime draws fresh noise: these three cases fail by
    chance with 6e-8. A component exceeds 7 deviations with 3e-12, a norm of noise is below half its mean with 6e-10."""
    federation = Federation(lab, MECHANISMS[mechanism], ENGINES[on])
    start = federation.start()
    for client, (update, metric) in enumerate(SENT[2:], 2):
        _, metrics, aggregate = federation.round(start, 0, 1, client)
        along = aggregate.sum() / np.sqrt(aggregate.size)
        across = aggregate - along / np.sqrt(aggregate.size)
        stddev = NOISE * BOUND / COHORT
        wanted = np.sign(update) * BOUND / COHORT if np.isfinite(update) else 0.0
        assert abs(along - wanted) < 7 * stddev, (update, metric)
        assert 0.5 < np.linalg.norm(across) / (stddev * np.sqrt(aggregate.size - 1)) < 2, (update, metric)
        left_out = not (abs(update) < 1.8e19 and abs(metric) < federation.largest_metric)
        assert metrics["client_work/non_finite_clients"] == left_out, (update, metric)
        assert metrics["client_work/train/num_examples"] == (0.0 if left_out else np.float32(metric)), (update, metric)
    federation.engine.close()


@pytest.mark.sampled
@pytest.mark.parametrize("spec", MECHANISMS.values(), ids=MECHANISMS)
def test_zeros_contribute_nothing(lab, spec):
    """To no sum, so that replacing a user by one that sends zeros changes a sum by what the account says: the state after a
    round is, bit for bit, that after one without anybody. What is not finite counts as zero, too."""
    if isinstance(spec, GaussianAdaptive):  # so little noise that a count of ½ shows in the clip norm
        spec = spec.model_copy(update={"clipped_count_stddev": 0.1})
    federation = Federation(lab, spec, Compiled(), [(0.0, 1.0), (np.nan, 1.0)])
    start = federation.start()
    nobody, zeros, nan = (federation.round(start, *clients)[0] for clients in ((), (0,), (1,)))
    for a, b, c in zip(nobody, zeros, nan):
        assert np.array_equal(a, b) and np.array_equal(a, c)


@pytest.mark.parametrize("clip_norm", [LEAST_NORM, LEAST_NORM * 1e3, 1.0, LARGEST_NORM])
def test_nothing_is_longer_than_its_clip_norm_after_clipping(clip_norm):
    """A hundred thousand equal coordinates, also where their squares underflow, to within float32's rounding."""
    clip = tf.function(lambda tensor: tf.clip_by_global_norm(bounded([tensor]), np.float32(clip_norm))[0][0])
    for coordinate in (1e-45, 1e-40, 1e-20, 5e-20, 1e-19, 3e-19, clip_norm / 100, 1e-10, 1.0, 1e18, 3e38):
        clipped = clip(tf.fill([100_000], np.float32(coordinate))).numpy().astype(np.float64)
        assert np.linalg.norm(clipped) <= clip_norm * (1 + 1e-5), coordinate


def test_an_update_within_the_clip_norm_but_beyond_the_range_of_the_secure_sum_is_clipped_again(lab):
    federation = Federation(lab, GaussianFixed(noise_multiplier=NOISE, clip_norm=1e6), Masked(clip_range=16.0))
    _, metrics, aggregate = federation.round(federation.start(), 0, 1, 6)  # 3.4e38
    assert metrics["secure/num_clipped"] == aggregate.size
    stddev = NOISE * 1e6 / COHORT
    assert abs(aggregate.sum() / np.sqrt(aggregate.size)) < 16 * np.sqrt(aggregate.size) / COHORT + 7 * stddev
    assert 0.5 < np.linalg.norm(aggregate) / (stddev * np.sqrt(aggregate.size)) < 2


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("start", "update", "ends_between"),
    [(LARGEST_NORM, 3.4e38, (LARGEST_NORM * 0.9, LARGEST_NORM)), (LEAST_NORM, 0.0, (LEAST_NORM, LEAST_NORM * 1.1))],
    ids=["up", "down"],
)
def test_an_adaptive_clip_norm_stays_where_clipping_is_sound(lab, start, update, ends_between):
    """Rounds that would drive it to infinity, or to zero: each could move it by a factor of e²⁰."""
    quantile = 1.0 if update else 0.0
    spec = GaussianAdaptive(
        noise_multiplier=NOISE,
        initial_clip_norm=start,
        clipped_count_stddev=0.1,
        target_quantile=quantile,
        clip_learning_rate=20.0,
    )
    federation = Federation(lab, spec, Compiled(), [(update, 1.0)] * COHORT)
    state = federation.start()
    for _ in range(12):
        before = federation.weights(state)
        state, metrics, _ = federation.round(state, *range(COHORT))
        [norm] = [value for name, value in metrics.items() if name.endswith("clip")]
        assert ends_between[0] * (1 - 1e-6) <= norm <= ends_between[1] * (1 + 1e-6)
        assert np.isfinite(federation.weights(state)).all()
        assert not np.array_equal(federation.weights(state), before) or not update
