"""A protocol that sums nobody where too few report: the ε of a run holds although one user can decide whether there is a sum.

The released sum of a small federation, each of whose users sends 1, is a mixture of Gaussians, one for each cohort that can be
drawn. The test computes its hockey-stick divergence from that of a neighbouring federation, which must not exceed δ at the
claimed ε.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from fedlab import cohort as samplers
from fedlab.data import Digits
from fedlab.errors import ConfigError
from fedlab.privacy import GaussianAdaptive, GaussianFixed, Tree
from fedlab.run import rules
from fedlab.run.privacy import PrivacyAccount, sampling_of
from fedlab.secure import BelowThreshold, Ckks, Dropouts, Layout, Masked, Plain
from tests.run.test_promises import experiment

USERS = 5  # at most
SENT = [np.ones(1, np.float32)]


def cohorts(sampler, num_users):
    """(chance, clients that report) of each cohort, over the sampling of `sampler` and its dropouts."""
    stays = 1 - sampler.dropout_rate
    for reporting in itertools.product([False, True], repeat=num_users):
        clients, gone = np.flatnonzero(reporting).tolist(), num_users - sum(reporting)
        if isinstance(sampler, samplers.Poisson):
            rate = sampler.sampling_rate * stays
            yield rate ** len(clients) * (1 - rate) ** gone, clients
        elif len(clients) <= sampler.clients_per_round:
            m = sampler.clients_per_round
            drawn = stats.hypergeom.pmf(len(clients), num_users, len(clients), m)  # all of them are in the cohort
            yield drawn * stays ** len(clients) * (1 - stays) ** (m - len(clients)), clients


def summed(secure, clients, round):
    """Whose updates the protocol sums."""
    try:
        return secure.build(Layout.of(SENT), USERS, 0, 9).run_round(round, clients, [SENT] * len(clients)).included
    except BelowThreshold:
        return ()


def divergence(sampler, secure, noise, alpha, num_users, round, values):
    """The larger of H_α in both orders, between user 0 sending either of `values`, all others 1."""
    x = np.linspace(-12 * noise - num_users, num_users + 12 * noise, 50_001)
    density = [np.zeros_like(x), np.zeros_like(x)]
    for chance, clients in cohorts(sampler, num_users):
        included = summed(secure, clients, round)
        for which, value in enumerate(values):
            total = sum(value if client == 0 else 1.0 for client in included)
            density[which] += chance * stats.norm.pdf(x, total, noise)
    one, other = density
    return max(np.maximum(a - alpha * b, 0).sum() * (x[1] - x[0]) for a, b in ((one, other), (other, one)))


SETTINGS = {
    "two users, one of whom alone is not summed": (samplers.Poisson(sampling_rate=0.1), Masked(), 2, 1e-4),
    "the chance of it fits into delta": (samplers.Poisson(sampling_rate=0.7), Masked(), 5, 0.2),
    "a cohort of fixed size that shrinks": (samplers.Uniform(clients_per_round=2, dropout_rate=0.5), Masked(), 4, 1e-3),
    "clients vanish from the protocol": (samplers.Poisson(sampling_rate=0.1), Masked(dropout_rate=0.4), 3, 1e-5),
    "clients vanish, and who stays is summed": (samplers.Poisson(sampling_rate=0.1), Plain(dropout_rate=0.5), 4, 1e-5),
}


@pytest.mark.parametrize(("sampler", "secure", "num_users", "delta"), SETTINGS.values(), ids=SETTINGS)
def test_the_epsilon_of_one_round_holds(sampler, secure, num_users, delta):
    spec = GaussianFixed(noise_multiplier=1.0, clip_norm=1.0, delta=delta)
    plan = spec.plan(sampling_of(experiment(cohort=sampler, secure=secure, privacy=spec), num_users), 1)
    spent = plan.ledger.spent(1)
    values = (1.0, -1.0) if "any other" in spent.neighbours else (1.0, 0.0)
    for round in range(1, 7 if secure.dropout_rate else 2):  # dropouts follow from the seed, and are known
        assert divergence(sampler, secure, 1.0, np.exp(spent.epsilon), num_users, round, values) <= delta * (1 + 1e-6), round


def test_whether_a_client_vanishes_depends_on_nobody_else():
    everyone = range(30)
    for round in range(20):
        among_all = Dropouts.draw(0.5, everyone, 3, round)
        for clients in ([4, 7, 8, 21], [0], [7, 29], []):
            mine = Dropouts.draw(0.5, clients, 3, round)
            assert mine.without_input == among_all.without_input.intersection(clients)
            assert mine.before_unmasking == among_all.before_unmasking.intersection(clients)


def test_large_cohorts_pay_nothing_for_it():
    """The chance that exactly one other of 200 reports, at rate 0.5, is 1e-58."""
    spec = GaussianFixed(noise_multiplier=1.0, clip_norm=1.0)
    sampler = samplers.Poisson(sampling_rate=0.5)
    epsilon = [
        spec.plan(sampling_of(experiment(cohort=sampler, secure=secure, privacy=spec), 200), 5).ledger.spent(5).epsilon
        for secure in (Plain(), Masked())
    ]
    assert epsilon[0] == epsilon[1]


def test_a_protocol_of_ones_own_is_not_taken_to_sum_whoever_stays():
    own = type("Own", (Plain,), {"vouches": ("privacy",)})(dropout_rate=0.1)
    one = experiment(cohort=samplers.Poisson(sampling_rate=0.5), secure=own)
    assert "no amplification" in sampling_of(one, 20).words
    stated = type("Own", (Plain,), {"vouches": ("privacy",), "sums_whoever_stays": True})(dropout_rate=0.1)
    assert "Poisson" in sampling_of(experiment(cohort=samplers.Poisson(sampling_rate=0.5), secure=stated), 20).words


def account(secure, num_weights=10_000, **options):
    one = experiment(secure=secure, privacy=GaussianFixed(**{"noise_multiplier": 1.0, "clip_norm": 0.1, **options}))
    return PrivacyAccount(one, one.partition(Digits().load(0).train, 0), num_weights=num_weights)


def test_errors_of_sums_count_against_the_noise():
    """Sums of neighbours, of 10,000 values each off by up to 1e-4, are 0.02 further apart than the clip norm of 0.1."""
    inexact = account(Ckks(precision=1e-4))
    spent, exact = inexact.spent(3).epsilon, account(Plain(), noise_multiplier=1 / 1.2).spent(3).epsilon
    assert spent == pytest.approx(exact, rel=1e-6) and spent > 1.1 * account(Plain()).spent(3).epsilon
    assert any(
        "a noise multiplier of 1 counts as 0.833333, and a probability of 1e-10 a round" in line for line in inexact.lines()
    )
    assert not any("counts as" in line for secure in (Masked(), Plain()) for line in account(secure).lines())


def test_their_chance_to_be_larger_is_taken_off_delta():
    assert account(Ckks(), num_weights=10, delta=1e-8).spent(3).epsilon < np.inf
    assert account(Ckks(), num_weights=10, delta=2.9e-10).spent(3).epsilon == np.inf


@pytest.mark.slow
def test_a_target_is_met_by_more_noise():
    aimed = [account(s, noise_multiplier=None, target_epsilon=2.0) for s in (Plain(), Ckks(precision=1e-4))]
    exact, inexact = (a.described()["noise_multiplier"] for a in aimed)
    assert inexact == pytest.approx(1.2 * exact, rel=0.01) and all(a.spent(3).epsilon <= 2.0 for a in aimed)


@pytest.mark.parametrize("kind", [GaussianFixed, Tree])
def test_errors_as_large_as_the_clip_norm_are_refused(kind):
    one = experiment(secure=Ckks(), privacy=kind(noise_multiplier=1.0, clip_norm=1e-3))
    rules.check(one)
    with pytest.raises(ConfigError, match=r"1,000,000 weights to within 1e-06 each, .* at most half the least clip norm, 0.001"):
        PrivacyAccount(one, one.partition(Digits().load(0).train, 0), num_weights=1_000_000)


def test_an_adaptive_clip_norm_may_fall_below_any_error():
    with pytest.raises(ConfigError, match="at most half the least clip norm, 1e-12"):
        rules.check(experiment(secure=Ckks(), privacy=GaussianAdaptive(noise_multiplier=0.01)))
