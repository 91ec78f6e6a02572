"""The noise found for a target spends the target, and no more."""

from __future__ import annotations

import pytest

from fedlab.errors import ConfigError
from fedlab.privacy import Everyone, FixedSize, Poisson, Schedule, accounts
from fedlab.privacy.accounting import Ledger
from fedlab.privacy.calibration import noise_for
from fedlab.privacy.examples import local_dp_sgd

# target ε, δ, rounds, noise multiplier → account
TARGETS = {
    "poisson": (2.0, 1e-6, 200, lambda z: accounts.gaussian(z, Poisson(10_000, 0.01))),
    "fixed": (8.0, 1e-5, 50, lambda z: accounts.gaussian(z, FixedSize(1000, 20))),
    "everyone": (8.0, 1e-5, 100, lambda z: accounts.gaussian(z, Everyone(50))),
    "tree": (4.0, 1e-6, 512, lambda z: accounts.tree(z, Schedule(10_000, 20, most=1))),
    "batches": (3.0, 1e-4, 10, lambda z: local_dp_sgd(z, 500, 50, 1, "poisson")),
}


@pytest.mark.sampled
@pytest.mark.parametrize(("target", "delta", "rounds", "account"), TARGETS.values(), ids=TARGETS)
def test_spends_the_target_and_no_more(target, delta, rounds, account):
    noise = noise_for(target, delta, rounds, account)
    assert Ledger(account(noise), delta, rounds).spent(rounds).epsilon <= target
    assert Ledger(account(0.999 * noise), delta, rounds).spent(rounds).epsilon > target
    assert float(f"{noise:.6g}") == noise  # so that it can be written down


def test_a_tighter_target_takes_more_noise():
    _, delta, rounds, account = TARGETS["everyone"]
    noises = [noise_for(target, delta, rounds, account) for target in (20.0, 4.0, 1.0)]
    assert noises[0] < noises[1] < noises[2]


@pytest.mark.parametrize(
    ("target", "account", "most", "says"),
    [
        (
            0.01,
            lambda z: accounts.gaussian(z, Everyone(10)),
            1000.0,
            r"out of reach.*larger population, fewer rounds or a larger",
        ),
        (0.5, lambda z: accounts.gaussian(z, Poisson(100, 0.1)), 1.0, r"out of reach.*largest noise multiplier, 1\."),
        (1e6, lambda z: accounts.gaussian(z, Poisson(100, 0.1)), 1000.0, r"almost no noise.*smaller target"),
        (1.0, lambda z: accounts.weight_noise(z), 1000.0, "cannot be met: noise of standard deviation 0.1"),
    ],
)
def test_what_cannot_be_met_is_refused(target, account, most, says):
    with pytest.raises(ConfigError, match=says) as error:
        noise_for(target, 1e-9, 10_000, account, name="privacy.target_epsilon", most=most)
    assert str(error.value).startswith(f"privacy.target_epsilon={target:g} ")
