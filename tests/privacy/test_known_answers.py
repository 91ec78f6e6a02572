"""ε against what others have published, each with its source and the conversion it used, and against closed formulas.

Before 2020, Rényi divergences were converted by ε = min over α of RDP(α) + ln(1/δ) / (α − 1) (Mironov 2017, proposition 3; as a
moments accountant: Abadi et al. 2016, theorem 2). The curve is the same as ours, so these figures pin it.
"""

from __future__ import annotations

import math

import dp_accounting as dpa
import numpy as np
import pytest
from dp_accounting import NeighboringRelation as Relation
from scipy import optimize, stats

from fedlab.privacy import Everyone, FixedSize, Poisson, Schedule, accounts
from fedlab.privacy.accounting import ORDERS, Ledger, renyi_curve
from fedlab.privacy.examples import local_dp_sgd

MNIST, BATCH = 60_000, 256


def by_the_old_conversion(rate, noise, rounds, delta, whole_orders=False):
    orders = np.array(ORDERS)
    epsilons = rounds * renyi_curve(dpa.PoissonSampledDpEvent(rate, dpa.GaussianDpEvent(noise)), Relation.ADD_OR_REMOVE_ONE)
    epsilons = epsilons + math.log(1 / delta) / (orders - 1)
    return epsilons[orders == orders.astype(int)].min() if whole_orders else epsilons.min()


# rate, noise multiplier, rounds, δ, ε to as many digits as published
OLD = {
    # TensorFlow Privacy, tutorials/README.md, edition of 2019: 15, 60 and 45 epochs
    "tutorial 1.19": (BATCH / MNIST, 1.3, 15 * MNIST // BATCH, 1e-5, 1.19),
    "tutorial 3.01": (BATCH / MNIST, 1.1, 60 * MNIST // BATCH, 1e-5, 3.01),
    "tutorial 7.10": (BATCH / MNIST, 0.7, 45 * MNIST // BATCH, 1e-5, 7.10),
    # the same, later edition
    "tutorial 2.92": (BATCH / MNIST, 1.12, 60 * MNIST // BATCH, 1e-5, 2.92),
    "tutorial 1.20": (BATCH / MNIST, 1.2, 10 * MNIST // BATCH, 1e-5, 1.20),
    # Bu et al. 2020, figure 4: 70 epochs
    "Bu et al. 8.68": (BATCH / MNIST, 0.7, 70 * MNIST // BATCH, 1e-5, 8.68),
    # Abadi et al. 2016: q = 0.01, σ = 4, 100 epochs
    "Abadi et al. 1.26": (0.01, 4.0, 10_000, 1e-5, 1.26),
}
# McMahan et al. 2018: users, cohort of 5,000, z = 1, 5,000 rounds, δ = 10⁻⁹. They used whole orders only.
OLD_WHOLE = {"McMahan et al. 4.634": (763_430, 4.634), "McMahan et al. 1.152": (10**8, 1.152)}


@pytest.mark.parametrize(("rate", "noise", "rounds", "delta", "published"), OLD.values(), ids=OLD)
def test_published_with_the_old_conversion(rate, noise, rounds, delta, published):
    assert by_the_old_conversion(rate, noise, rounds, delta) == pytest.approx(published, abs=0.0055)
    ours = Ledger(accounts.gaussian(noise, Poisson(10**6, rate)), delta, rounds).spent(rounds)
    assert ours.epsilon_pld < ours.epsilon_rdp < published


@pytest.mark.parametrize(("users", "published"), OLD_WHOLE.values(), ids=OLD_WHOLE)
def test_published_with_whole_orders(users, published):
    assert by_the_old_conversion(5000 / users, 1.0, 5000, 1e-9, whole_orders=True) == pytest.approx(published, abs=0.0005)


def test_the_tutorials_setting_today():
    """2.60 and 2.38: dp_accounting 0.4.3, RDP with its default orders and PLD on its default grid."""
    rounds = 14_063  # 60 · 60,000 / 256, rounded up
    spent = Ledger(accounts.gaussian(1.1, Poisson(MNIST, BATCH / MNIST)), 1e-5, rounds).spent(rounds)
    assert (round(spent.epsilon_rdp, 2), round(spent.epsilon_pld, 2)) == (2.60, 2.38)
    event = dpa.PoissonSampledDpEvent(BATCH / MNIST, dpa.GaussianDpEvent(1.1))
    assert spent.epsilon_rdp == pytest.approx(dpa.rdp.RdpAccountant().compose(event, rounds).get_epsilon(1e-5), rel=1e-9)
    assert spent.epsilon_pld == pytest.approx(dpa.pld.PLDAccountant().compose(event, rounds).get_epsilon(1e-5), rel=3e-4)
    assert spent.epsilon == spent.epsilon_pld


def test_example_level_counts_whole_batches():
    """⌈60,000 / 256⌉ = 235 steps an epoch: 37 steps more than above in 60 epochs."""
    spent = Ledger(local_dp_sgd(1.1, MNIST, BATCH, 60, "poisson"), 1e-5).spent(1)
    assert (round(spent.epsilon_rdp, 2), round(spent.epsilon_pld, 2)) == (2.60, 2.39)
    assert (spent.unit, spent.neighbours) == (
        "example",
        "replace one example by one that contributes nothing; the number of examples is public",
    )


def exact_gaussian_epsilon(noise, rounds, delta):
    """Balle and Wang 2018, theorem 8: δ = Φ(1/2σ − εσ) − e^ε Φ(−1/2σ − εσ), with σ = noise / √rounds."""
    sigma = noise / math.sqrt(rounds)
    mass = stats.norm.cdf

    def gap(epsilon):
        return mass(0.5 / sigma - epsilon * sigma) - math.exp(epsilon) * mass(-0.5 / sigma - epsilon * sigma) - delta

    return optimize.brentq(gap, 0, 100, xtol=1e-12)


@pytest.mark.parametrize(("noise", "rounds"), [(0.5, 1), (1.0, 4), (3.0, 100), (30.0, 100), (10.0, 1)])
def test_without_sampling_the_bounds_enclose_the_exact_epsilon(noise, rounds):
    exact = exact_gaussian_epsilon(noise, rounds, 1e-5)
    spent = Ledger(accounts.gaussian(noise, Everyone(10)), 1e-5, rounds).spent(rounds)
    assert exact - 1e-9 <= spent.epsilon_pld <= exact * 1.001
    assert spent.epsilon_pld <= spent.epsilon_rdp <= exact * 1.35


def test_balle_and_wang():
    """σ = 3.730632 for ε = 1, δ = 10⁻⁵: the analytic Gaussian mechanism, where the classical one would take 4.84."""
    spent = Ledger(accounts.gaussian(3.730632, Everyone(10)), 1e-5).spent(1)
    assert spent.epsilon == pytest.approx(1.0, rel=1e-4)


def test_gboard():
    """Spanish Gboard, 2022: ρ = 0.81 (zCDP) is ε = 8.9 at δ = 10⁻¹⁰, by RDP. A Gaussian of noise 1 / √(2ρ) is ρ-zCDP."""
    spent = Ledger(accounts.gaussian(1 / math.sqrt(2 * 0.81), Everyone(10)), 1e-10).spent(1)
    assert spent.epsilon_rdp == pytest.approx(8.9, abs=0.05)
    assert spent.epsilon_pld < 8.6


@pytest.mark.parametrize(("noise", "published"), [(1.13, 19.74), (8.83, 2.04)])
def test_dp_ftrl(noise, published):
    """Kairouz et al. 2021, Stack Overflow: 1,600 rounds of one tree, each user once, δ = 10⁻⁶, by the old conversion."""
    account = accounts.tree(noise, Schedule(342_477, 100, most=1))
    rdp = renyi_curve(account.event(1600), account.relation)
    orders = np.array(ORDERS)
    old = (rdp + math.log(1e6) / (orders - 1)).min()
    assert old == pytest.approx(published, abs=0.02)
    assert Ledger(account, 1e-6).spent(1600).epsilon_rdp < published


@pytest.mark.parametrize(("rate", "noise"), [(0.01, 1.0), (0.2, 0.7), (0.5, 4.0)])
def test_order_two_of_poisson_sampling(rate, noise):
    """RDP(2) = ln(1 + q² (e^(1/σ²) − 1)) for the sampled Gaussian of sensitivity 1 (Mironov et al. 2019)."""
    account = accounts.gaussian(noise, Poisson(100, rate))
    curve = renyi_curve(account.event(1).event, account.relation)
    assert curve[ORDERS.index(2)] == pytest.approx(math.log1p(rate**2 * math.expm1(noise**-2)), rel=1e-9)


@pytest.mark.parametrize(("cohort", "noise"), [(1, 2.0), (5, 4.0), (10, 8.0)])
def test_order_two_of_fixed_size_sampling(cohort, noise):
    """RDP(2) ≤ ln(1 + q² min(4 (e^ε(2) − 1), 2 e^ε(2))), ε(2) = 1/σ² (Wang et al. 2019, theorem 27), where σ is the noise over
    the sensitivity: replacing a user moves a sum by two clip norms, so σ is half the noise multiplier."""
    account = accounts.gaussian(noise, FixedSize(100, cohort))
    curve = renyi_curve(account.event(1).event, account.relation)
    at_two = (noise / 2) ** -2
    bound = math.log1p((cohort / 100) ** 2 * min(4 * math.expm1(at_two), 2 * math.exp(at_two)))
    assert curve[ORDERS.index(2)] == pytest.approx(bound, rel=1e-6)
    assert account.relation is Relation.REPLACE_ONE
