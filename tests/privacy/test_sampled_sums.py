"""Accounts of sampled sums against what the sums do: every pair of small federations, and an accountant written here.

The accountant of this file shares nothing with dp_accounting: profiles by quadrature, composition of losses that are rounded down
and up on a lattice, which gives a lower and an upper bound of δ.
"""

from __future__ import annotations

import itertools
import math

import dp_accounting as dpa
import numpy as np
import pytest
from scipy import integrate, stats

from fedlab.privacy import FixedSize, Poisson, accounts
from fedlab.privacy.accounting import ORDERS, Ledger, renyi_curve
from fedlab.privacy.without_replacement import replaced

USERS, COHORT, NOISE = 4, 2, 1.3  # clip norm 1
VALUES = (-1.0, 0.0, 1.0)
ALPHAS = (0.2, 0.6, 0.9, 1.0, 1.1, 1.7, 4.0)
GRID = np.linspace(-14, 14, 28_001)  # of a released sum; the densities are 0 in float64 beyond


def density(sums, chances, noise=NOISE):
    return sum(p * stats.norm.pdf(GRID, s, noise) for s, p in zip(sums, chances))


def without_replacement(values):
    cohorts = list(itertools.combinations(values, COHORT))
    return density([sum(c) for c in cohorts], [1 / len(cohorts)] * len(cohorts))


def poisson(values, rate=0.3):
    ways = list(itertools.product((0, 1), repeat=len(values)))
    chances = [math.prod(rate if taken else 1 - rate for taken in way) for way in ways]
    return density([np.dot(way, values) for way in ways], chances)


def hockey_stick(alpha, p, q):
    return integrate.trapezoid(np.maximum(p - alpha * q, 0), GRID)


def mixed(rate, distance, noise=NOISE):
    """(mixture, Q): a user is in with chance `rate`, and moves the sum by `distance`."""
    return density([0.0, distance], [1 - rate, rate], noise), density([0.0], [1.0], noise)


def profile(alpha, rate, distance=2.0, noise=NOISE):
    """h of fedlab/privacy/without_replacement.py, straight from its definition."""
    mixture, plain = mixed(rate, distance, noise)
    return hockey_stick(alpha, mixture, plain) if alpha >= 1 else hockey_stick(alpha, plain, mixture)


def test_no_two_federations_differ_by_more_than_the_profile_and_some_do_by_as_much():
    worst = dict.fromkeys(ALPHAS, 0.0)
    released = {v: without_replacement(v) for v in itertools.product(VALUES, repeat=USERS)}
    for values, other in itertools.product(released, VALUES):
        neighbour = (other, *values[1:])
        for alpha in ALPHAS:
            worst[alpha] = max(worst[alpha], hockey_stick(alpha, released[values], released[neighbour]))
    for alpha, found in worst.items():
        assert found == pytest.approx(profile(alpha, COHORT / USERS), abs=1e-7)


def test_one_round_is_accounted_as_the_profile_says():
    one = replaced(NOISE / 2, COHORT / USERS, 1e-3)
    for alpha in ALPHAS:
        truth = profile(alpha, COHORT / USERS)
        assert truth - 1e-7 <= one.get_delta_for_epsilon(math.log(alpha)) <= truth + 1e-4


def test_two_rounds_of_any_two_federations_cost_no_more_than_accounted():
    """Also where the neighbours change places in the second round, which an adaptive server can bring about."""
    two, every = replaced(NOISE / 2, COHORT / USERS, 1e-3).self_compose(2), 50
    step, bounds = (GRID[1] - GRID[0]) * every, {a: two.get_delta_for_epsilon(math.log(a)) for a in (0.5, 1.0, 2.0)}
    ways = [((1, -1, -1, -1), -1), ((1, 0, 0, 0), -1), ((1, -1, 1, 0), -1), ((0, -1, -1, -1), -1)]
    pairs = [[without_replacement(v)[::every] for v in (values, (other, *values[1:]))] for values, other in ways]
    for (p, q), (r, s) in itertools.product([*pairs, *(pair[::-1] for pair in pairs)], repeat=2):
        for alpha, bound in bounds.items():
            found = np.maximum(np.outer(p, r) - alpha * np.outer(q, s), 0).sum() * step**2
            assert found <= bound


def losses(rate, noise, step):
    """Mass of the privacy losses of the pair that h is the profile of, rounded down to multiples of `step`: (first, masses).

    At losses above 0 those of (mixture, Q), below 0 those of (Q, mixture), and what is left lies at 0. Sensitivity 1.
    """
    x = np.linspace(-40 * noise, 40 * noise, 400_001)
    ratio = np.log1p(rate * np.expm1((2 * x - 1) / (2 * noise**2)))  # ln mixture / Q, where x is what is released
    plain, moved = np.diff(stats.norm.cdf(x, 0, noise)), np.diff(stats.norm.cdf(x, 1, noise))
    middle = (ratio[1:] + ratio[:-1]) / 2
    above, below = middle > 0, middle > 0  # the loss of (Q, mixture) is the negative
    found = np.concatenate([middle[above], -middle[below]])
    mass = np.concatenate([((1 - rate) * plain + rate * moved)[above], plain[below]])
    place = np.floor(found / step).astype(int)
    first = place.min()
    masses = np.bincount(place - first, mass)
    masses[-first] += 1 - mass.sum()
    return first, masses


def composed(rate, noise, rounds, epsilon, step=5e-4):
    """δ between (at least, at most)."""
    first, masses = losses(rate, noise, step)
    size = 1 << (len(masses) * rounds - 1).bit_length()
    product = np.maximum(np.fft.irfft(np.fft.rfft(masses, size) ** rounds, size), 0)
    down = (np.arange(size) + first * rounds) * step
    return tuple(-np.sum(product * np.expm1(np.minimum(epsilon - loss, 0))) for loss in (down, down + 1.1 * rounds * step))


@pytest.mark.parametrize(
    ("population", "cohort", "noise", "rounds"), [(100, 10, 8.0, 30), (40, 20, 6.0, 10), (1000, 20, 2.0, 20)]
)
def test_the_account_lies_between_the_bounds_of_another_accountant(population, cohort, noise, rounds):
    delta = 1e-4
    spent = Ledger(accounts.gaussian(noise, FixedSize(population, cohort)), delta, rounds).spent(rounds)
    least, most = composed(cohort / population, noise / 2, rounds, spent.epsilon_pld)
    assert least <= delta * (1 + 1e-3) and delta * (1 - 1e-3) <= most  # the two are apart by `rounds` steps of the lattice
    least, _ = composed(cohort / population, noise / 2, rounds, spent.epsilon_pld * 0.98)
    assert least > delta  # two per cent less would be too little
    assert spent.epsilon == spent.epsilon_pld < spent.epsilon_rdp


def test_a_user_who_contributes_nothing_differs_as_one_who_is_away():
    """The pairs of add-or-remove, and no worse ones, though the number of users stays what it is."""
    worst = {order: dict.fromkeys(ALPHAS, 0.0) for order in ("with", "without")}
    for others in itertools.product(VALUES, repeat=2):
        for value in VALUES:
            there, nothing = poisson((value, *others)), poisson((0.0, *others))
            for alpha in ALPHAS:
                worst["with"][alpha] = max(worst["with"][alpha], hockey_stick(alpha, there, nothing))
                worst["without"][alpha] = max(worst["without"][alpha], hockey_stick(alpha, nothing, there))
    mixture, plain = mixed(0.3, 1.0)
    for alpha in ALPHAS:
        assert worst["with"][alpha] == pytest.approx(hockey_stick(alpha, mixture, plain), abs=1e-7)
        assert worst["without"][alpha] == pytest.approx(hockey_stick(alpha, plain, mixture), abs=1e-7)


def test_replacing_by_nothing_costs_what_dp_accounting_says_of_adding_and_removing():
    account = accounts.gaussian(NOISE, Poisson(1000, 0.02))
    own = dpa.rdp.RdpAccountant([2.0, 8.0], dpa.NeighboringRelation.ADD_OR_REMOVE_ONE)
    own.compose(dpa.PoissonSampledDpEvent(0.02, dpa.GaussianDpEvent(NOISE)))
    assert account.relation is dpa.NeighboringRelation.REPLACE_SPECIAL
    curve = dict(zip(ORDERS, renyi_curve(account.event(1).event, account.relation)))
    assert [curve[2.0], curve[8.0]] == pytest.approx(list(own._rdp), rel=1e-9)
