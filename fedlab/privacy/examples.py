"""Example-level privacy: clients that train by DP-SGD (Abadi et al. 2016) protect each of their examples by themselves.

The figure of a run is that of its worst client.
"""

from __future__ import annotations

from typing import Literal, Sequence

import dp_accounting as dpa

from fedlab.errors import ConfigError
from fedlab.privacy.accounting import Ledger, Spending
from fedlab.privacy.accounts import Account, Relation, without_guarantee

Batches = Literal["poisson", "shuffled"]


def local_dp_sgd(
    noise_multiplier: float, num_examples: int, batch_size: int, local_epochs: int = 1, batches: Batches = "shuffled"
) -> Account:
    """What one client releases in the rounds it takes part in: those are the account's rounds.

    `poisson`: ⌈n / B⌉ steps an epoch, each of which takes every example by itself with probability B / n. `shuffled`: every
    example once an epoch, in a batch at most `batch_size` large; that is no Poisson sampling and earns no amplification, and
    an example costs one Gaussian mechanism per epoch.
    """
    if min(num_examples, batch_size, local_epochs) < 1:
        raise ConfigError(
            f"{num_examples:,} examples, batches of {batch_size:,} and {local_epochs:,} epochs: each must be at least 1."
        )
    if not noise_multiplier > 0:
        return without_guarantee(f"the noise multiplier is {noise_multiplier:g}: without noise there is no guarantee", "example")
    one = dpa.GaussianDpEvent(noise_multiplier)
    if batches == "shuffled":
        words = f"no amplification: shuffled batches, each of {num_examples:,} examples once an epoch"
        return Account(
            lambda rounds: dpa.SelfComposedDpEvent(one, rounds * local_epochs), Relation.REPLACE_SPECIAL, "example", words
        )
    if batches != "poisson":
        return without_guarantee(f"nothing is known here of batches={batches}", "example")
    rate, steps = min(batch_size / num_examples, 1.0), local_epochs * -(-num_examples // batch_size)
    return Account(
        lambda rounds: dpa.SelfComposedDpEvent(dpa.PoissonSampledDpEvent(rate, one), rounds * steps),
        Relation.ADD_OR_REMOVE_ONE,
        "example",
        f"Poisson: each of {num_examples:,} examples by itself with probability {rate:.4g} a step, unseen by others",
    )


def worst_client(
    noise_multiplier: float,
    num_examples: Sequence[int],
    participations: Sequence[int],
    delta: float,
    batch_size: int,
    local_epochs: int = 1,
    batches: Batches = "shuffled",
) -> Spending:
    """The largest cost to an example of any client. Per client: how many examples it holds, how often it took part."""
    if len(num_examples) != len(participations) or not len(num_examples):
        raise ConfigError(f"{len(num_examples)} sizes for {len(participations)} participation counts: one of each per client.")
    most: dict[int, int] = {}  # size → participations: of clients of one size, who took part most
    for size, times in zip(num_examples, participations):
        most[size] = max(times, most.get(size, 0))
    if batches == "shuffled":  # what it costs does not depend on the size
        most = dict([max(most.items(), key=lambda item: item[1])])
    accounts = {size: local_dp_sgd(noise_multiplier, size, batch_size, local_epochs, batches) for size in most}
    return max((Ledger(accounts[s], delta, most[s]).spent(most[s]) for s in most), key=lambda spending: spending.epsilon)
