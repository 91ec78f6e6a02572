"""A sampler of a user's own draws what it states, and the same whenever it is asked: otherwise the run ends."""

from __future__ import annotations

import numpy as np
import pytest

from fedlab.cohort import All, CohortSampler, InTurn, Poisson, Uniform
from fedlab.errors import ConfigError
from fedlab.randomness import generator
from fedlab.run.cohorts import Watched, watched
from fedlab.sampling import Everyone, FixedSize, Schedule
from fedlab.sampling import Poisson as Independent
from fedlab.types import Cohort

N, ROUNDS = 12, 60


def own(choose):
    """An own sampler that takes the clients `choose(num_clients, seed, round)`."""
    return type("Own", (CohortSampler,), {"_choose": lambda self, *args: np.sort(choose(*args)), "__module__": "own"})()


def drawn(sampler, stated, rounds=ROUNDS, first=1):
    watching = Watched(sampler, stated)
    return [watching(N, 5, r) for r in range(first, rounds + 1)]


def drawing(size, rate=None):
    """Draws `size` clients, or each with probability `rate`."""

    def choose(num_clients, seed, round):
        rng = generator(seed, "own", round)
        return rng.choice(num_clients, size, replace=False) if rate is None else np.flatnonzero(rng.random(num_clients) < rate)

    return choose


HONEST = {
    "all": (lambda n, seed, r: np.arange(n), Everyone(N)),
    "fixed": (drawing(3), FixedSize(N, 3)),
    "poisson": (drawing(0, 0.3), Independent(N, 0.3)),
    "poisson_of_all": (lambda n, seed, r: np.arange(n), Independent(N, 1.0)),
    "in_turn": (lambda n, seed, r: (np.arange(3) + 3 * (r - 1)) % n, Schedule.of_turns(N, 3)),
    "once": (lambda n, seed, r: np.array([r - 1] if r <= n else [], np.int64), Schedule(N, 1, most=1)),
    "any": (drawing(5), Schedule(N, 2)),
    "nothing_claimed": (drawing(5), None),
}
# name → what it draws, what it states, the round in which it must be found out, and what it is told
DISHONEST = {
    "not_all": (lambda n, seed, r: np.arange(n - 1), Everyone(N), 1, "sampled 11 clients"),
    "more": (drawing(4), FixedSize(N, 3), 1, "sampled 4 clients"),
    "twice": (lambda n, seed, r: np.array([1, 2]), Schedule(N, 2, most=1), 2, "a client has taken part 2 times"),
    "too_soon": (lambda n, seed, r: np.array([r % 4]), Schedule(N, 1, apart=5), 5, "after only [0-4] rounds"),
    "more_in_turn": (lambda n, seed, r: np.arange(6), Schedule.of_turns(N, 3), 2, "after only 0 rounds"),
    # The same clients in every round, as the sampling of 3 of 12 has it with probability (1/4)^rounds, times 12
    "same_fixed": (lambda n, seed, r: np.arange(3), FixedSize(N, 3), 30, "more often, or less often, than chance"),
    "same_poisson": (lambda n, seed, r: np.arange(3), Independent(N, 0.25), 30, "than chance allows"),
    "too_many": (drawing(0, 0.6), Independent(N, 0.2), 10, "than chance allows"),
    "too_few": (lambda n, seed, r: np.zeros(0, np.int64), Independent(N, 0.3), 20, "than chance allows"),
    "always": (lambda n, seed, r: np.arange(n - 1), Independent(N, 1.0), 1, "than chance allows"),
}


@pytest.mark.parametrize("name", HONEST)
def test_who_draws_as_stated_is_never_refused(name):
    choose, stated = HONEST[name]
    sampler = own(choose)
    assert all(np.array_equal(cohort.clients, np.sort(choose(N, 5, r))) for r, cohort in enumerate(drawn(sampler, stated), 1))


@pytest.mark.parametrize("name", DISHONEST)
def test_who_draws_otherwise_is_refused(name):
    choose, stated, at_last, told = DISHONEST[name]
    with pytest.raises(ConfigError, match=rf"^cohort: Own states {type(stated).__name__}\(.*{told}") as caught:
        drawn(own(choose), stated, rounds=at_last)
    assert "\n" not in str(caught.value)


def test_a_run_that_continues_counts_the_rounds_before():
    choose, stated, _, told = DISHONEST["twice"]
    with pytest.raises(ConfigError, match=told):
        drawn(own(choose), stated, first=2, rounds=2)


def test_draws_from_elsewhere_are_refused():
    calls = iter(range(99))
    with pytest.raises(ConfigError, match=r"two different cohorts for the same .* and round \(1\).*fedlab\.randomness") as caught:
        drawn(own(lambda n, seed, r: np.array([next(calls) % n])), None)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("clients", [[1, 1], [N], [-1]])
def test_a_cohort_made_by_hand_is_checked(clients):
    """`CohortSampler` checks `_choose`; a class may override the call. A client twice would double its influence."""
    body = {"__call__": lambda self, n, seed, r: Cohort(r, np.array(clients), np.zeros(0, np.int64)), "_choose": None}
    sampler = type("Own", (CohortSampler,), {**body, "__module__": "own"})()
    with pytest.raises(ConfigError, match="a client twice, or one that does not exist"):
        drawn(sampler, None)


@pytest.mark.parametrize("stated", [FixedSize(N, N), None])
@pytest.mark.parametrize("nobody", [np.array([]), np.zeros(0, np.int64)])
def test_an_empty_array_of_any_type_is_a_cohort_without_dropouts(stated, nobody):
    """`np.array([])` holds floats, which cannot be positions of clients."""
    body = {"__call__": lambda self, n, seed, r: Cohort(r, np.arange(n), nobody), "_choose": None}
    sampler = type("Own", (CohortSampler,), {**body, "__module__": "own"})()
    assert [len(cohort.clients) for cohort in drawn(sampler, stated, rounds=2)] == [N, N]


def test_fedlabs_own_samplers_are_not_slowed_down():
    for sampler in (All(), Poisson(sampling_rate=0.5), Uniform(clients_per_round=2), InTurn(clients_per_round=2)):
        assert watched(sampler, sampler.sampling(N)) is sampler


def test_an_honest_sampler_is_refused_with_the_stated_chance_at_most():
    """The bound of one round is at most its share, computed exactly from the binomial distribution."""
    from scipy import stats

    from fedlab.run.cohorts import CHANCE, _is_unlikely

    for trials, rate, tries, round_num in [(1, 0.01, 12, 1), (60, 0.3, 12, 60), (400, 0.05, 1, 10), (500, 0.9, 100, 500)]:
        far = [k for k in range(trials + 1) if _is_unlikely(k, trials, tries, rate, round_num)]
        chance = tries * stats.binom.pmf(far, trials, rate).sum() if far else 0.0
        assert chance <= CHANCE / (3 * round_num * (round_num + 1))
        assert bool(far) == (trials > 1)
