"""What every cohort sampler promises, and the statistics of each."""

from __future__ import annotations

import numpy as np
import pydantic
import pytest

from fedlab.cohort import All, Poisson, Uniform
from fedlab.errors import ConfigError, FedlabError

SAMPLERS = [
    All(),
    All(dropout_rate=0.5),
    Uniform(clients_per_round=1),
    Uniform(clients_per_round=20),
    Uniform(clients_per_round=8, dropout_rate=0.3),
    Poisson(sampling_rate=1),
    Poisson(sampling_rate=0.02),
    Poisson(sampling_rate=0.4, dropout_rate=0.9),
]
ROUNDS = 3000
FIVE_SIGMA = 5  # seeds are fixed, so a test that passes once passes always; five leaves no doubt that it should


def both(cohort):
    return np.concatenate([cohort.clients, cohort.dropped])


@pytest.mark.parametrize("sampler", SAMPLERS, ids=repr)
@pytest.mark.parametrize("seed", [0, 1, 99])
class TestEverySampler:
    def test_clients_are_distinct_ascending_and_in_range(self, sampler, seed):
        for round in range(1, 30):
            cohort = sampler(20, seed, round)
            assert cohort.round == round
            for part in (cohort.clients, cohort.dropped):
                assert part.dtype == np.int64 and np.all(np.diff(part) > 0)
            assert len(np.unique(both(cohort))) == len(both(cohort))
            assert np.all((both(cohort) >= 0) & (both(cohort) < 20))

    def test_a_round_is_the_same_whatever_was_drawn_before(self, sampler, seed):
        forward = [sampler(20, seed, r) for r in range(1, 20)]
        backward = [sampler(20, seed, r) for r in range(19, 0, -1)][::-1]
        for a, b in zip(forward, backward):
            assert np.array_equal(a.clients, b.clients) and np.array_equal(a.dropped, b.dropped)

    def test_dropout_takes_from_the_sampled_and_changes_nobody_else(self, sampler, seed):
        without = sampler.model_copy(update={"dropout_rate": 0.0})
        for round in range(1, 10):
            assert len(without(20, seed, round).dropped) == 0
            assert np.array_equal(np.sort(both(sampler(20, seed, round))), without(20, seed, round).clients)


@pytest.mark.parametrize("sampler", [Uniform(clients_per_round=8), Poisson(sampling_rate=0.4)], ids=repr)
def test_rounds_and_seeds_differ(sampler):
    cohorts = {tuple(sampler(20, seed, round).clients) for seed in range(5) for round in range(1, 6)}
    assert len(cohorts) > 20


def test_uniform_takes_every_client_equally_often_and_always_as_many():
    sampler, clients, k = Uniform(clients_per_round=6), 20, 6
    counts = np.zeros(clients)
    for round in range(1, ROUNDS + 1):
        cohort = sampler(clients, 0, round)
        assert len(cohort.clients) == k
        counts[cohort.clients] += 1
    q = k / clients
    assert np.abs(counts / ROUNDS - q).max() < FIVE_SIGMA * np.sqrt(q * (1 - q) / ROUNDS)


def test_poisson_takes_every_client_by_itself():
    q, clients = 0.3, 20
    taken = np.zeros((ROUNDS, clients))
    for round in range(1, ROUNDS + 1):
        taken[round - 1, Poisson(sampling_rate=q)(clients, 0, round).clients] = 1
    assert np.abs(taken.mean(axis=0) - q).max() < FIVE_SIGMA * np.sqrt(q * (1 - q) / ROUNDS)
    correlations = np.corrcoef(taken.T)[np.triu_indices(clients, 1)]
    assert np.abs(correlations).max() < FIVE_SIGMA / np.sqrt(ROUNDS)
    # the size of a cohort is binomial, not fixed
    assert taken.sum(axis=1).var() == pytest.approx(clients * q * (1 - q), rel=FIVE_SIGMA * np.sqrt(2 / ROUNDS))


def test_dropout_rate_is_met_and_independent_of_sampling():
    dropped = sampled = 0
    for round in range(1, ROUNDS + 1):
        cohort = Uniform(clients_per_round=5, dropout_rate=0.2)(20, 0, round)
        dropped, sampled = dropped + len(cohort.dropped), sampled + len(both(cohort))
    assert dropped / sampled == pytest.approx(0.2, abs=FIVE_SIGMA * np.sqrt(0.2 * 0.8 / sampled))


def test_an_empty_cohort_is_a_cohort():
    sizes = [len(Poisson(sampling_rate=0.01)(10, 0, round).clients) for round in range(1, 50)]
    assert 0 in sizes
    assert Poisson(sampling_rate=0.01)(10, 0, sizes.index(0) + 1).clients.dtype == np.int64


def test_more_clients_per_round_than_clients_is_one_line():
    for call in (lambda s: s.check(9), lambda s: s(9, 0, 1)):
        with pytest.raises(ConfigError, match="clients_per_round is 10, but there are only 9 clients") as caught:
            call(Uniform(clients_per_round=10))
        assert "\n" not in str(caught.value)
    Uniform(clients_per_round=10).check(10)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (Uniform, {"clients_per_round": 0}),
        (Poisson, {"sampling_rate": 0}),
        (Poisson, {"sampling_rate": 1.1}),
        (All, {"dropout_rate": 1}),
        (All, {"dropout_rate": -0.1}),
    ],
)
def test_options_out_of_range_are_refused(kind, options):
    with pytest.raises(pydantic.ValidationError):
        kind(**options)


@pytest.mark.parametrize("chosen", [[3, 3, 3], [0, 5, 0], [-1], [20]])
def test_a_sampler_of_ones_own_chooses_each_client_once(chosen):
    """A client that is counted twice in a sum has twice the influence that the noise hides."""
    own = type("Own", (Uniform,), {"_choose": lambda self, num_clients, seed, round: np.array(chosen)})(clients_per_round=3)
    with pytest.raises(FedlabError, match=r"^cohort: Own\._choose returned the client (-1|20|3|0)( twice|;)"):
        own(20, 0, 4)
