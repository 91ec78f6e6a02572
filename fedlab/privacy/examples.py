"""Example-level privacy: clients that train by DP-SGD (Abadi et al. 2016) protect each of their examples by themselves.

The figure of a run is that of its worst client.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import dp_accounting as dpa
import numpy as np

from fedlab.errors import ConfigError
from fedlab.privacy.accounting import Ledger, Spending, rdp_bounds
from fedlab.privacy.accounts import Account, Relation, without_guarantee

Batches = Literal["poisson", "shuffled"]
Counts = Sequence[int] | np.ndarray  # one for each client


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
        Relation.REPLACE_SPECIAL,
        "example",
        f"Poisson: each of {num_examples:,} examples by itself with probability {rate:.4g} a step, unseen by others",
    )


class WorstClient:
    """Of all clients, the one whose examples have paid most, for any numbers of participations. Keeps nothing but caches."""

    def __init__(
        self,
        noise_multiplier: float,
        num_examples: Counts,
        planned: Counts,
        delta: float,
        batch_size: int,
        local_epochs: int = 1,
        batches: Batches = "shuffled",
    ):
        """Per client: how many examples it holds, and how often it will have taken part in the end."""
        if len(num_examples) != len(planned) or not len(num_examples):
            raise ConfigError(f"{len(num_examples)} sizes for {len(planned)} participation counts: one of each per client.")
        # What shuffled batches cost does not depend on the size
        sizes = np.full(len(num_examples), max(num_examples)) if batches == "shuffled" else np.asarray(num_examples)
        self._sizes, self._group = np.unique(sizes, return_inverse=True)
        accounts = [local_dp_sgd(noise_multiplier, int(size), batch_size, local_epochs, batches) for size in self._sizes]
        self._ledgers = [Ledger(account, delta, int(most)) for account, most in zip(accounts, self._most(planned))]

    def spent(self, participations: Counts) -> Spending:
        """The largest cost to an example, given how often each client has taken part."""
        most = self._most(participations)
        bounds = rdp_bounds(self._ledgers, most)
        worst: Spending | None = None
        for i in np.argsort(-bounds, kind="stable"):
            if worst is not None and bounds[i] <= worst.epsilon:
                break
            spending = self._ledgers[i].spent(int(most[i]))
            worst = spending if worst is None or spending.epsilon > worst.epsilon else worst
        assert worst is not None, "there is a client"
        return worst

    def each(self, participations: Counts) -> list[float]:
        """Per client, an upper bound of what an example of its has paid: ε by RDP, 0 for a client that never took part."""
        pairs = list(zip(self._group.tolist(), np.asarray(participations).tolist()))
        bounds = {(group, times): self._of(self._ledgers[group], times) for group, times in set(pairs)}
        return [bounds[pair] for pair in pairs]

    @staticmethod
    def _of(ledger: Ledger, times: int) -> float:
        if ledger.account.reason:
            return math.inf
        return ledger.by_rdp(times) if times else 0.0

    def _most(self, participations: Counts) -> np.ndarray:
        """int64 [sizes]: of clients of one size, the participations of who took part most."""
        most = np.zeros(len(self._sizes), np.int64)
        np.maximum.at(most, self._group, np.asarray(participations, np.int64))
        return most
