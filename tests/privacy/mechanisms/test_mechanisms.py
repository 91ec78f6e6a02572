"""The mechanisms, put into FedAvg and executed by the compiled engine: what they add is what their account is about.

Where a client's learning rate is next to nothing its update is too, and with the server's SGD at rate 1 the weights move by
the noise alone.
"""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import tensorflow_federated as tff

from fedlab import randomness
from fedlab.aggregation import Mean
from fedlab.algorithms import FedAvg
from fedlab.algorithms.optimizers import Sgd
from fedlab.engine import Compiled, SecureSumming, Tff
from fedlab.models import Perceptron
from fedlab.privacy import FixedSize, GaussianAdaptive, GaussianFixed, Mechanism, Poisson, Sampling, Tree
from fedlab.randomness import Secret
from fedlab.secure import Masked

CLIENTS = 4
COHORT = FixedSize(CLIENTS, CLIENTS)
STILL = Sgd(learning_rate=1e-12)  # clients that learn nothing
MANY = (40, 40, 1)  # images of 1,600 pixels: 6,404 weights, enough to measure a standard deviation by


@dataclasses.dataclass(frozen=True)
class Private:
    """A mechanism in the place of an aggregator."""

    spec: Mechanism
    sampling: Sampling = COHORT
    seed: int = 0
    takes_weights = False

    def build(self):
        factory = self.spec.plan(self.sampling, 10).aggregator(self.seed)
        assert isinstance(factory, tff.aggregators.UnweightedAggregationFactory)
        return tff.aggregators.as_weighted_aggregator(factory)


def flat(weights):
    return np.concatenate([np.ravel(w) for w in weights])


def keyed(round_input, key):
    """The same round with other random numbers on the server."""
    return dataclasses.replace(round_input, server_key=randomness.key(key, "test"))


def steps(lab, aggregator, num_rounds=1, keys=None, inputs=None, **options):
    """[rounds, weights]: by how much each round moved the weights, its sign that of the aggregate."""
    trainer = lab.trainer(FedAvg(client_weighting="uniform"), aggregator=aggregator, **options)
    inputs = inputs or lab.inputs(num_rounds)
    if keys is not None:  # round 1 again and again, from the same state
        first, state = flat(trainer.initial_weights), trainer.engine.initialize(np.array([17, 4]))
        after = (trainer.weights(trainer.engine.next(state, keyed(inputs[0], key))[0]) for key in keys)
        return np.array([first - flat(weights) for weights in after])
    moved = [trainer.initial_weights, *trainer.run(inputs).weights]
    return np.array([flat(a) - flat(b) for a, b in itertools.pairwise(moved)])


def close_to(samples, stddev):
    """Whether mean and standard deviation are within 5 of their standard errors, stddev / √n and stddev / √2n."""
    error = stddev / np.sqrt(np.size(samples))
    return abs(np.std(samples) - stddev) < 5 * error / np.sqrt(2) and abs(np.mean(samples)) < 5 * error


FREE = {
    "fixed": GaussianFixed(noise_multiplier=0.0, clip_norm=1e6),
    "adaptive": GaussianAdaptive(noise_multiplier=0.0, initial_clip_norm=1e6),
    "tree": Tree(noise_multiplier=0.0, clip_norm=1e6, restart_every=2),
}


@pytest.mark.sampled
@pytest.mark.parametrize("spec", FREE.values(), ids=FREE)
def test_no_bound_and_no_noise_is_the_plain_mean(lab, spec):
    plain, private = steps(lab, Mean(), 3), steps(lab, Private(spec), 3)
    assert lab.distance(private, plain) < 1e-5 and np.abs(plain).max() > 1e-3


NOISY = {"fixed": GaussianFixed(noise_multiplier=3.0, clip_norm=0.05), "tree": Tree(noise_multiplier=1.0)}


def test_clips_the_whole_update(lab):
    """One client, a bound far below its update: the direction stays, the norm is the bound over the divisor."""
    one = lab.inputs(1, clients=[2])
    [plain] = steps(lab, Mean(), inputs=one)
    [clipped] = steps(lab, Private(GaussianFixed(noise_multiplier=0.0, clip_norm=0.01)), inputs=one)
    assert np.linalg.norm(plain) > 0.02
    assert np.linalg.norm(clipped) == pytest.approx(0.01 / CLIENTS, rel=1e-4)
    assert np.dot(plain, clipped) == pytest.approx(np.linalg.norm(plain) * np.linalg.norm(clipped), rel=1e-4)


HOSTILE = [
    1.9e19,
    np.nan,
    *(pytest.param(v, marks=pytest.mark.slow) for v in (1e-38, 1e15, 1e18, 1e19, 1e25, 3e38, np.inf, -np.inf)),
]
BOUND = 0.05


@pytest.mark.sampled
@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize(
    "spec",
    [
        GaussianFixed(noise_multiplier=3.0, clip_norm=BOUND),
        GaussianAdaptive(noise_multiplier=3.0, initial_clip_norm=BOUND, clipped_count_stddev=10.0),
        Tree(noise_multiplier=3.0, clip_norm=BOUND),
    ],
    ids=lambda spec: type(spec).__name__,
)
def test_whatever_a_client_sends_it_moves_the_sum_by_the_bound_at_most_and_the_noise_stays(lab, spec, value):
    """Against the same round, with the same noise, in which its one example is zero. It takes one step at learning rate 1, about
    as large as that example; two updates within the bound differ by twice the bound at most."""
    moved = {}
    for given in (value, 0.0):
        examples = lab.examples(dtype=np.float32)
        examples.x[lab.partition().indices[1]] = given
        [moved[given]] = steps(lab, Private(spec), examples=examples, client_optimizer=Sgd(learning_rate=1.0))
    assert np.isfinite(moved[value]).all()
    assert np.linalg.norm(moved[value] - moved[0.0]) <= 2 * BOUND / CLIENTS * (1 + 1e-4) + 1e-6
    # The noise alone, by 148 weights, is far larger than all clipped updates together
    assert np.linalg.norm(moved[value]) > 3.0 * BOUND / CLIENTS * np.sqrt(moved[value].size) / 2


@pytest.mark.sampled
@pytest.mark.parametrize(
    "spec",
    [
        GaussianFixed(noise_multiplier=3.0, clip_norm=BOUND),
        pytest.param(GaussianAdaptive(noise_multiplier=3.0, clipped_count_stddev=10.0), marks=pytest.mark.slow),
        Tree(noise_multiplier=3.0, clip_norm=BOUND),
    ],
    ids=lambda spec: type(spec).__name__,
)
def test_a_round_whose_sum_no_protocol_makes_gets_the_noise_of_an_empty_one(lab, spec):
    """Bit for bit: after an empty cohort, one too small for masks, and one whose clients vanish, the state is the same."""

    def left(protocol, clients):
        examples = lab.examples()
        process, _ = lab.process(FedAvg(client_weighting="uniform"), examples, Perceptron(), aggregator=Private(spec))
        engine = Compiled().build(process, examples, SecureSumming(protocol, CLIENTS, 33, 2, adds_noise=True))
        states = [engine.initialize(np.array([17, 4]))]
        for round_input in lab.inputs(2, clients=clients):
            state, metrics = engine.next(states[-1], round_input)
            states.append(state)
            assert metrics["secure/num_included"] == 0 and metrics.get("secure/abandoned", 0) == (len(clients) > 0)
        engine.close()
        return states

    def equal(a, b):  # by value: the state also holds a string
        return all(np.array_equal(x, y) for x, y in zip(a, b))

    empty = left(Masked(), [])
    assert not equal(empty[0], empty[1]) and not equal(empty[1], empty[2])
    for protocol, clients in ((Masked(), [2]), (Masked(dropout_rate=0.9, threshold=0.9), [0, 1, 2, 3])):
        for state, expected in zip(left(protocol, clients), empty):
            assert equal(state, expected)


@pytest.mark.parametrize("sampling", [Poisson(8, 0.5), COHORT])
def test_divides_by_the_expected_cohort_whoever_turns_up(lab, sampling):
    """Two of the expected four, by chance or for dropouts: the sum is still divided by four."""
    two = lab.inputs(1, clients=[0, 2])
    [plain] = steps(lab, Mean(), inputs=two)
    [private] = steps(lab, Private(FREE["fixed"], sampling), inputs=two)
    assert np.abs(private - plain / 2).max() < 1e-6 * np.abs(plain).max() + 1e-7


def test_noise_on_clipped_updates_has_the_deviation_that_is_accounted(lab):
    """std = clip × multiplier / divisor. Every client is clipped, and what they add up to is subtracted."""
    clip_norm = 0.05
    [silent] = steps(lab, Private(GaussianFixed(noise_multiplier=0.0, clip_norm=clip_norm)))
    for client in range(CLIENTS):
        assert np.linalg.norm(steps(lab, Mean(), inputs=lab.inputs(1, clients=[client]))) > clip_norm
    noise = steps(lab, Private(NOISY["fixed"]), keys=range(30)) - silent
    assert close_to(noise, clip_norm * 3.0 / CLIENTS)
    pairs = np.corrcoef(noise[:, :70].ravel(), noise[:, 70:140].ravel())
    assert abs(pairs[0, 1]) < 5 / np.sqrt(30 * 70)  # each weight has its own


def test_simulated_privacy_has_the_noise_of_the_large_federation(lab):
    """And of the large one's expected cohort, where the run's is drawn by Poisson sampling."""
    spec = GaussianFixed(noise_multiplier=2.0, clip_norm=1.0, population=1000, simulated_cohort=50)
    noisy = steps(lab, Private(spec, Poisson(40, 0.5)), keys=range(30), client_optimizer=STILL)
    assert close_to(noisy, 2.0 / 50)


class TestAdaptive:
    """z⁻² = z_sum⁻² + (2 b)⁻² (Andrew et al. 2021, theorem 1): what the sum gets and what the count gets."""

    SPEC = GaussianAdaptive(noise_multiplier=1.2, initial_clip_norm=0.5, clipped_count_stddev=0.8, clip_learning_rate=0.3)

    def test_the_sum(self, lab):
        noisy = steps(lab, Private(self.SPEC), keys=range(30), client_optimizer=STILL)
        assert close_to(noisy, 0.5 * (1.2**-2 - 1.6**-2) ** -0.5 / CLIENTS)

    def test_the_count(self, lab):
        """C ← C · exp(−η (b̃ − γ)): all four are within the bound, and b̃ = 1 + N(0, (b / 4)²), cut off at 0 and 1."""
        trainer = lab.trainer(FedAvg(client_weighting="uniform"), aggregator=Private(self.SPEC), client_optimizer=STILL)
        [first] = lab.inputs(1)
        state = trainer.engine.initialize(np.array([17, 4]))
        metrics = [trainer.engine.next(state, keyed(first, key))[1] for key in range(300)]
        clips = np.array([next(v for name, v in m.items() if name.endswith("clip")) for m in metrics])
        share = 0.5 - np.log(clips / 0.5) / 0.3
        assert share.min() >= 0 and share.max() <= 1 + 1e-5
        below = 1 - share[share < 1 - 1e-5]  # half of a normal distribution
        assert 107 < len(below) < 193  # 150, give or take five standard deviations
        assert np.sqrt(np.mean(below**2)) == pytest.approx(0.8 / CLIENTS, rel=5 / np.sqrt(2 * 150))


class TestTree:
    SPEC = Tree(noise_multiplier=2.0, clip_norm=0.5)
    UNIT = 2.0 * 0.5 / CLIENTS  # of a node, in the aggregate

    def sums(self, lab, spec, num_rounds):
        examples = lab.examples(shape=MANY)
        moved = steps(lab, Private(spec), num_rounds, examples=examples, client_optimizer=STILL)
        return np.cumsum(moved, 0) / self.UNIT

    def test_noise_of_the_sum_over_rounds(self, lab):
        """Honaker 2015: a node of depth d, averaged with its children, has variance 1 / (2 − 2⁻ᵈ), and the sum over r rounds
        takes a node for each binary digit of r."""
        variances = [1, 2 / 3, 2 / 3 + 1, 4 / 7, 4 / 7 + 1]
        for total, variance in zip(self.sums(lab, self.SPEC, 5), variances):
            assert close_to(total, np.sqrt(variance))

    def test_restarts(self, lab):
        """After two rounds a new tree, whose noise adds to what was there."""
        spec = self.SPEC.model_copy(update={"restart_every": 2})
        sums = self.sums(lab, spec, 4)
        for total, variance in zip(sums, [1, 2 / 3, 2 / 3 + 1, 4 / 3]):
            assert close_to(total, np.sqrt(variance))
        assert close_to(sums[3] - sums[1], np.sqrt(2 / 3))

    @pytest.mark.slow
    def test_is_the_same_on_tffs_runtime(self, lab):
        """Its noise does not come from the engine's keys."""
        spec = self.SPEC.model_copy(update={"restart_every": 2})
        ours = steps(lab, Private(spec), 3, engine=Compiled())
        assert lab.distance(steps(lab, Private(spec), 3, engine=Tff()), ours) < 1e-5


@pytest.mark.sampled
@pytest.mark.parametrize("spec", NOISY.values(), ids=NOISY)
def test_equal_seeds_give_equal_bits_and_rounds_differ(lab, spec):
    once, again = steps(lab, Private(spec), 3), steps(lab, Private(spec), 3, fresh=True)
    assert np.array_equal(once, again)
    assert len(np.unique(once, axis=0)) == 3


def test_noise_of_a_tree_follows_from_the_secret(lab):
    once, again, other = (steps(lab, Private(NOISY["tree"], seed=Secret(key)), fresh=True) for key in (2**200, 2**200, 2**201))
    assert np.array_equal(once, again) and not np.array_equal(once, other)


def test_the_key_decides_the_noise_of_a_round(lab):
    noise = steps(lab, Private(NOISY["fixed"]), keys=[5, 5, 6])
    assert np.array_equal(noise[0], noise[1]) and not np.array_equal(noise[0], noise[2])
