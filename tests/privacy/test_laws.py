"""What must hold of any account: more rounds cost more, more noise costs less, and what is not known costs everything."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math

import dp_accounting as dpa
import numpy as np
import pytest
from dp_accounting import NeighboringRelation as Relation

from fedlab.cohort import InTurn
from fedlab.errors import ConfigError
from fedlab.privacy import Everyone, FixedSize, Poisson, Sampling, Schedule, accounts
from fedlab.privacy.accounting import Ledger, rdp_bounds, rounded_up
from fedlab.privacy.accounts import Account
from fedlab.privacy.examples import WorstClient, local_dp_sgd

# name → noise multiplier → account
ACCOUNTS = {
    "poisson": lambda z: accounts.gaussian(z, Poisson(1000, 0.05)),
    "poisson of all": lambda z: accounts.gaussian(z, Poisson(1000, 1.0)),
    "fixed": lambda z: accounts.gaussian(z, FixedSize(1000, 20)),
    "everyone": lambda z: accounts.gaussian(z, Everyone(1000)),
    "schedule": lambda z: accounts.gaussian(z, Schedule(1000, 20, most=7, apart=3)),
    "tree": lambda z: accounts.tree(z, Poisson(1000, 0.05)),
    "tree, once": lambda z: accounts.tree(z, Schedule(1000, 20, most=1)),
    "tree, restarted": lambda z: accounts.tree(z, Schedule(1000, 20, most=5, apart=9), restart_every=8),
    "batches": lambda z: local_dp_sgd(z, 500, 20, 2, "poisson"),
    "shuffled batches": lambda z: local_dp_sgd(z, 500, 20, 2, "shuffled"),
}
EVERY = pytest.mark.parametrize("account", ACCOUNTS.values(), ids=ACCOUNTS)
DELTA = 1e-5


def figures(account, rounds, horizon=50):
    spent = Ledger(account, DELTA, horizon).spent(rounds)
    return [spent.epsilon, spent.epsilon_rdp, *([] if spent.epsilon_pld is None else [spent.epsilon_pld])]


@EVERY
def test_grows_with_rounds(account):
    steps = [figures(account(2.0), r) for r in (0, 1, 2, 7, 31, 50)]
    assert steps[0][:2] == [0, 0]
    for before, after in itertools.pairwise(steps):
        assert all(a <= b for a, b in zip(before, after))
    assert all(a < b for a, b in zip(steps[1], steps[-1]))


@EVERY
def test_falls_with_noise(account):
    steps = [figures(account(z), 50) for z in (0.4, 1.0, 3.0, 10.0)]
    for before, after in itertools.pairwise(steps):
        assert all(a > b for a, b in zip(before, after))


@EVERY
def test_no_noise_no_privacy(account):
    spent = Ledger(account(0.0), DELTA).spent(1)
    assert math.isinf(spent.epsilon) and "noise multiplier is 0" in spent.reason


@EVERY
@pytest.mark.parametrize("noise", [1e-300, 1e-9, 0.01, 1e6])
def test_extreme_noise_is_no_accident(account, noise):
    """Never NaN, never a number that rounding made too small, and never a crash."""
    for epsilon in figures(account(noise), 50):
        assert epsilon > 1e3 if noise < 1 else 0 <= epsilon < 0.1
    assert Ledger(account(noise), DELTA, 50).spent(50).reason == "" or noise < 1


def test_smaller_delta_costs_more():
    epsilons = [Ledger(ACCOUNTS["poisson"](1.0), delta).spent(10).epsilon for delta in (1e-3, 1e-6, 1e-9)]
    assert epsilons[0] < epsilons[1] < epsilons[2]


class Guess(Sampling):
    """A way to draw cohorts of which nothing is known."""

    expected_cohort = 3.0
    words = "a guess"


def test_unknown_sampling_is_infinite():
    spent = Ledger(accounts.gaussian(1.0, Guess(10)), DELTA).spent(1)
    assert math.isinf(spent.epsilon) and "sampling by Guess" in spent.reason


@pytest.mark.parametrize(
    "event", [dpa.UnsupportedDpEvent(), dpa.SampledWithReplacementDpEvent(100, 10, dpa.GaussianDpEvent(1.0))], ids=str
)
def test_unknown_event_is_infinite(event):
    account = Account(lambda rounds: dpa.SelfComposedDpEvent(event, rounds), Relation.REPLACE_SPECIAL, "user", "")
    spent = Ledger(account, DELTA).spent(3)
    assert math.isinf(spent.epsilon) and type(event).__name__ in spent.reason and "\n" not in spent.reason


def test_a_relation_that_the_theorem_is_not_about_is_infinite():
    """Poisson amplification is a theorem about a user who contributes nothing instead, not about any other one."""
    sampled = dpa.PoissonSampledDpEvent(0.1, dpa.GaussianDpEvent(1.0))
    account = Account(lambda rounds: dpa.SelfComposedDpEvent(sampled, rounds), Relation.REPLACE_ONE, "user", "")
    assert math.isinf(Ledger(account, DELTA).spent(1).epsilon)


def test_unclipped_weight_noise_is_infinite():
    spent = Ledger(accounts.weight_noise(0.1), DELTA).spent(1)
    assert math.isinf(spent.epsilon) and "not clipped" in spent.reason
    assert json.loads(json.dumps(spent.as_dict()))["epsilon"] == "inf"


@pytest.mark.parametrize("cohort", [1, 20, 300, 900, 1000])
def test_sampling_never_costs(cohort):
    """Though the bound for sampling without replacement alone exceeds the cost of no sampling where much is sampled."""
    sampled = Ledger(accounts.gaussian(1.0, FixedSize(1000, cohort)), DELTA).spent(100).epsilon_rdp
    unsampled = Ledger(accounts.gaussian(0.5, Everyone(1000)), DELTA).spent(100).epsilon_rdp  # two clip norms
    assert sampled <= unsampled * (1 + 1e-12)
    assert cohort > 20 or sampled < unsampled / 10
    poisson = Ledger(accounts.gaussian(1.0, Poisson(1000, cohort / 1000)), DELTA).spent(100).epsilon_rdp
    assert poisson < sampled


def test_what_is_not_sampled_by_poisson_earns_nothing_of_it():
    amplified = Ledger(local_dp_sgd(1.0, 500, 20, 5, "poisson"), DELTA).spent(1)
    shuffled = Ledger(local_dp_sgd(1.0, 500, 20, 5, "shuffled"), DELTA).spent(1)
    assert shuffled.epsilon > 2 * amplified.epsilon
    assert "no amplification" in shuffled.sampling
    assert shuffled.epsilon == Ledger(accounts.gaussian(1.0, Everyone(1)), DELTA).spent(5).epsilon  # once an epoch


def test_the_pld_grid_costs_at_most_a_thousandth():
    for rate, noise, rounds in [(0.01, 1.0, 1000), (0.01, 30.0, 300), (0.5, 3.0, 100)]:
        ours = Ledger(accounts.gaussian(noise, Poisson(1000, rate)), DELTA, rounds).spent(rounds).epsilon_pld
        event = dpa.PoissonSampledDpEvent(rate, dpa.GaussianDpEvent(noise))
        fine = dpa.pld.PLDAccountant(value_discretization_interval=2e-5 if noise == 30 else 1e-4).compose(event, rounds)
        assert ours == pytest.approx(fine.get_epsilon(DELTA), rel=1e-3)


def test_asked_every_round_it_is_never_too_small_and_seldom_computed():
    account = ACCOUNTS["poisson"](1.0)
    ledger, exact = Ledger(account, DELTA, 300), Ledger(account, DELTA, 300)
    quick = [ledger.spent(r, until=300) for r in range(1, 301)]
    assert len(ledger._pld) <= 90
    for r in (1, 16, 17, 99, 255, 299, 300):
        truth = exact.spent(r)
        assert truth.epsilon_pld <= quick[r - 1].epsilon_pld <= 1.05 * truth.epsilon_pld
        assert quick[r - 1].epsilon_rdp == truth.epsilon_rdp
    assert quick[-1] == exact.spent(300)


def test_affordable_rounds():
    ledger = Ledger(ACCOUNTS["poisson"](1.0), DELTA, 200)
    rounds = ledger.affordable_rounds(3.0, 200)
    assert ledger.spent(rounds).epsilon <= 3.0 < ledger.spent(rounds + 1).epsilon
    assert ledger.affordable_rounds(1e9, 200) == 200
    assert ledger.affordable_rounds(1e-9, 200) == 0


def test_epsilon_is_never_written_smaller_than_it_is():
    written = [rounded_up(e) for e in (2.38001, 0.00012341, 12345.6, 1.0, 0.0, math.inf, None)]
    assert written == ["2.381", "0.0001235", "12,350", "1.000", "0", "∞", "none"]


class TestTree:
    def test_each_user_once_is_the_event_of_dp_accounting(self):
        """SingleEpochTreeAggregationDpEvent, whose depth is that of a tree of so many leaves."""
        for rounds in (1, 2, 3, 8, 9, 1000):
            own = dpa.rdp.RdpAccountant(neighboring_relation=Relation.REPLACE_SPECIAL)
            own.compose(dpa.SingleEpochTreeAggregationDpEvent(2.0, rounds))
            ours = Ledger(accounts.tree(2.0, Schedule(100, 1, most=1)), DELTA).spent(rounds)
            assert ours.epsilon_rdp == pytest.approx(own.get_epsilon(DELTA), rel=1e-9)
            assert ours.neighbours == "replace one user by one that contributes nothing; the number of users is public"

    @pytest.mark.parametrize("restart_every", [0, 1, 4])
    @pytest.mark.parametrize("apart", [0, 1, 3])
    def test_bounds_every_way_of_taking_part(self, restart_every, apart):
        """Against all ways there are, for up to 9 rounds; exact for one participation and for as many as there can be."""

        def cost(rounds, times):
            trees = (
                [times]
                if not restart_every
                else [[t - s for t in times if s <= t < s + restart_every] for s in range(0, rounds, restart_every)]
            )
            lengths = [rounds] if not restart_every else [min(restart_every, rounds - s) for s in range(0, rounds, restart_every)]
            return sum(
                sum(start <= t < start + size for t in tree) ** 2
                for tree, length in zip(trees, lengths)
                for size in (1, 2, 4, 8)
                for start in range(0, length - size + 1, size)
            )

        for rounds in range(1, 10):
            ways = [w for k in range(1, rounds + 1) for w in itertools.combinations(range(rounds), k)]
            ways = [w for w in ways if all(b - a > apart for a, b in itertools.pairwise(w))]
            for most in range(1, rounds + 1):
                worst = max(cost(rounds, w) for w in ways if len(w) <= most)
                bound = accounts.tree_sensitivity(rounds, restart_every, min(most, -(-rounds // (apart + 1))), apart)
                assert worst <= bound <= 1.3 * worst
                assert bound == worst or (most > 1 and (apart > 0 or most < rounds))

    @pytest.mark.parametrize(
        ("most", "apart", "rounds", "published"), [(1, 7, 8, 4), (3, 3, 9, 11), (3, 2, 7, 9), (8, 2, 24, 88), (19, 0, 19, 503)]
    )
    def test_tensorflow_privacys_worst_cases(self, most, apart, rounds, published):
        """Of its tree_aggregation_accountant_test.py, which searches where we bound."""
        assert published <= accounts.tree_sensitivity(rounds, 0, most, apart) <= 1.15 * published

    def test_random_cohorts_amplify_nothing(self):
        worst = Ledger(accounts.tree(4.0, Schedule(1000, 50)), DELTA).spent(20)
        for sampling in (Poisson(1000, 0.05), FixedSize(1000, 50), Everyone(1000)):
            assert Ledger(accounts.tree(4.0, sampling), DELTA).spent(20).epsilon == worst.epsilon
        assert "any user may take part in every round" in worst.sampling


class TestSchedule:
    def test_of_cohorts(self):
        schedule = Schedule.of(10, [[0, 1], [2], [], [0, 3], [3]])
        assert (schedule.expected_cohort, schedule.most, schedule.apart) == (6 / 5, 2, 0)
        assert Schedule.of(10, [[0], [1], [2], [0]]).apart == 2
        assert Schedule.of(3, [[0], [1], [2]]).most == 1

    def test_participations(self):
        assert [Schedule(10, 1, most=3, apart=2).participations(r) for r in (1, 3, 4, 7, 100)] == [1, 1, 2, 3, 3]
        assert Schedule(10, 1).participations(5) == 5

    def test_participations_in_turn_are_those_of_the_cohorts(self):
        """Every user of every federation of up to 11 is counted, in every number of rounds; so are the rounds in between."""
        for cohort, population in itertools.combinations_with_replacement(range(1, 12), 2):
            sampler, cohorts, times = InTurn(clients_per_round=cohort), [], np.zeros(population, int)
            stated = sampler.sampling(population)
            for t in range(1, 25):
                cohorts.append(sampler(population, 3, t).clients.tolist())
                times[cohorts[-1]] += 1
                own = dataclasses.replace(Schedule.of(population, cohorts), in_turn=True)
                assert stated.participations(t) == own.participations(t) == times.max(), (population, cohort, t)
                assert own.apart >= stated.apart or own.most == 1
        assert InTurn(clients_per_round=3).sampling(8).participations(5) == 2

    def test_limits_are_possible_if_users_in_turn_keep_them(self):
        """Users in turn take part as evenly and as far apart as can be: their limits are possible, tighter ones are not."""
        for cohort, population, rounds in itertools.product(range(1, 6), range(1, 12), (1, 2, 5, 9)):
            if cohort <= population:
                kept = Schedule.of(population, [[(t * cohort + i) % population for i in range(cohort)] for t in range(rounds)])
                kept.require_possible(rounds)
                if kept.most > 1:
                    with pytest.raises(ConfigError, match=f"some take part at least {kept.most} times"):
                        Schedule(population, cohort, kept.most - 1).require_possible(rounds)
                    with pytest.raises(ConfigError, match="give a smaller separation or cohort"):
                        Schedule(population, cohort, apart=population // cohort).require_possible(rounds)

    def test_a_simulated_federation_in_turn_has_its_own_participations(self):
        """100 users of whom each takes part once in 100 rounds do not limit 10,000 users, 5,000 of them a round."""
        few = dataclasses.replace(Schedule.of(100, [[i] for i in range(100)]), in_turn=True)
        assert (few.most, few.apart, few.participations(100)) == (1, 100, 1)
        assert few.scaled(10_000, 5000) == InTurn(clients_per_round=5000).sampling(10_000)
        assert few.scaled(10_000, 5000).participations(100) == 50
        assert "in turn, 5,000 of 10,000 a round, with at least 1 round in between" in few.scaled(10_000, 5000).words

    def test_a_simulated_federation_has_no_limits_that_only_the_run_keeps(self):
        kept = Schedule.of(100, [[i] for i in range(100)])
        assert kept.participations(100) == 1 and kept.scaled(10_000, 5000).participations(100) == 100
        assert "no amplification: any user may take part in every round" in kept.scaled(10_000, 5000).words


class TestWorstClient:
    def test_no_client_is_said_to_have_paid_more_than_the_worst(self):
        """By RDP alone, every client's ε was above that of the run, which is the smaller of RDP and PLD."""
        sizes, times = [14, 17, 19], [3, 3, 0]
        worst = WorstClient(2.0, sizes, times, 0.05, batch_size=8, local_epochs=2, batches="poisson")
        each, epsilon = worst.each(times), worst.spent(times).epsilon
        assert max(each) == epsilon and each[2] == 0 and epsilon < min(worst._ledgers[0].by_rdp(3), worst._ledgers[1].by_rdp(3))

    def test_is_that_of_the_client_who_pays_most(self):
        spent = WorstClient(1.0, [500, 60, 500], [10, 10, 12], DELTA, batch_size=20, batches="poisson").spent([10, 10, 12])
        each = [Ledger(local_dp_sgd(1.0, n, 20, 1, "poisson"), DELTA, r).spent(r) for n, r in ((500, 12), (60, 10))]
        assert spent == max(each, key=lambda s: s.epsilon) and each[0].epsilon != each[1].epsilon

    def test_of_shuffled_batches_is_that_who_takes_part_most(self):
        spent = WorstClient(1.0, [500, 60], [3, 2], DELTA, batch_size=20, local_epochs=2).spent([3, 2])
        assert spent == Ledger(local_dp_sgd(1.0, 500, 20, 2), DELTA, 3).spent(3)

    def test_of_many_clients_is_found_without_asking_all(self):
        """Also where it is not the one whose bound by RDP alone is the largest, and as time goes on."""
        rng = np.random.default_rng(0)
        sizes, times = rng.integers(5, 60, 12), rng.integers(1, 9, 12)
        worst = WorstClient(0.8, sizes, times, DELTA, batch_size=20, batches="poisson")
        for participations in (times // 2, times):
            each = [
                Ledger(local_dp_sgd(0.8, n, 20, 1, "poisson"), DELTA, last).spent(t).epsilon
                for n, t, last in zip(sizes.tolist(), participations.tolist(), times.tolist())
            ]
            assert worst.spent(participations).epsilon == pytest.approx(max(each), rel=1e-3)
        assert worst.spent(0 * times).epsilon == 0

    @pytest.mark.parametrize("batches", ["poisson", "shuffled"])
    def test_each_pays_for_itself_and_none_more_than_the_worst(self, batches):
        sizes, times = [500, 60, 60, 60], [4, 0, 2, 2]
        worst = WorstClient(1.0, sizes, [5] * 4, DELTA, batch_size=20, batches=batches)
        each = worst.each(times)
        by_rdp = [Ledger(local_dp_sgd(1.0, n, 20, 1, batches), DELTA, 5).spent(t).epsilon_rdp for n, t in zip(sizes, times)]
        expected = [min(epsilon, worst.spent(times).epsilon) for epsilon in by_rdp]
        assert each == pytest.approx(expected, rel=1e-9) and each[1] == 0 and each[2] == each[3]

    def test_without_noise_there_is_no_guarantee(self):
        without = WorstClient(0.0, [5, 6], [1, 2], DELTA, batch_size=20)
        assert math.isinf(without.spent([0, 1]).epsilon) and without.each([0, 1]) == [math.inf] * 2


def test_a_quick_bound_by_rdp_is_one():
    ledgers = [Ledger(local_dp_sgd(z, 50, 20, 1, "poisson"), DELTA, 9) for z in (0.3, 1.0, 30.0)]
    for rounds in (0, 1, 9):
        bounds = rdp_bounds(ledgers, np.full(3, rounds))
        assert [b >= ledger.spent(rounds).epsilon_rdp for b, ledger in zip(bounds, ledgers)] == [True] * 3
        assert bounds[1] == pytest.approx(ledgers[1].spent(rounds).epsilon_rdp, rel=0.05)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Poisson(10, 0.0), "sampling rate 0"),
        (lambda: Poisson(0, 0.5), "population=0"),
        (lambda: FixedSize(10, 11), "cohort of 11 users: it must be 1 to the population of 10"),
        (lambda: Schedule(10, 1, most=0), "participations=0"),
        (lambda: Ledger(accounts.gaussian(1.0, Everyone(3)), 1.0), "delta=1"),
        (lambda: Ledger(accounts.gaussian(1.0, Everyone(3)), 1e-5).spent(-1), "rounds=-1"),
        (lambda: local_dp_sgd(1.0, 0, 20), "0 examples"),
        (lambda: WorstClient(1.0, [], [], DELTA, 20), "0 sizes"),
    ],
)
def test_impossible_figures_are_refused(make, says):
    with pytest.raises(ConfigError, match=says):
        make()
