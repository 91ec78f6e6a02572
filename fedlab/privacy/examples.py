"""Example-level privacy: clients train by DP-SGD (Abadi et al. 2016) and protect each of their own examples.

The ε of a run is that of its worst client.
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
Counts = Sequence[int] | np.ndarray  # one count per client


def local_dp_sgd(
    noise_multiplier: float, num_examples: int, batch_size: int, local_epochs: int = 1, batches: Batches = "shuffled"
) -> Account:
    """Returns the account of one client's releases. The account's rounds are those in which the client takes part.

    `poisson`: ⌈n / B⌉ steps per epoch; each samples every example independently with probability B / n. `shuffled`: every example
    once per epoch, in a batch of at most `batch_size`; this is not Poisson sampling and gives no amplification, so an example
    costs one Gaussian mechanism per epoch.
    """
    if min(num_examples, batch_size, local_epochs) < 1:
        raise ConfigError(
            f"{num_examples:,} examples, batches of {batch_size:,} and {local_epochs:,} epochs: each number must be at least 1."
        )
    if not noise_multiplier > 0:
        return without_guarantee(f"the noise multiplier is {noise_multiplier:g}: without noise there is no guarantee", "example")
    one = dpa.GaussianDpEvent(noise_multiplier)
    if batches == "shuffled":
        words = f"no amplification: shuffled batches, each of {num_examples:,} examples once per epoch"
        return Account(
            lambda rounds: dpa.SelfComposedDpEvent(one, rounds * local_epochs), Relation.REPLACE_SPECIAL, "example", words
        )
    if batches != "poisson":
        return without_guarantee(f"there is no theorem here for batches={batches}", "example")
    rate, steps = min(batch_size / num_examples, 1.0), local_epochs * -(-num_examples // batch_size)
    return Account(
        lambda rounds: dpa.SelfComposedDpEvent(dpa.PoissonSampledDpEvent(rate, one), rounds * steps),
        Relation.REPLACE_SPECIAL,
        "example",
        f"Poisson: each of {num_examples:,} examples independently with probability {rate:.4g} a step; the batch is secret",
    )


class WorstClient:
    """Computes the cost of the client with the largest ε, for any numbers of participations. It keeps only caches."""

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
        """`num_examples`: each client's number of examples. `planned`: each client's number of participations at the end."""
        if len(num_examples) != len(planned) or not len(num_examples):
            raise ConfigError(f"{len(num_examples)} sizes and {len(planned)} participation counts: give one of each per client.")
        # The cost of shuffled batches does not depend on the number of examples
        sizes = np.full(len(num_examples), max(num_examples)) if batches == "shuffled" else np.asarray(num_examples)
        self._sizes, self._group = np.unique(sizes, return_inverse=True)
        accounts = [local_dp_sgd(noise_multiplier, int(size), batch_size, local_epochs, batches) for size in self._sizes]
        self._ledgers = [Ledger(account, delta, int(most)) for account, most in zip(accounts, self._most(planned))]

    def spent(self, participations: Counts) -> Spending:
        """Returns the largest cost of an example. `participations`: each client's number of participations."""
        most = self._most(participations)
        bounds = rdp_bounds(self._ledgers, most)
        worst: Spending | None = None
        for i in np.argsort(-bounds, kind="stable"):
            if worst is not None and bounds[i] <= worst.epsilon:
                break
            spending = self._ledgers[i].spent(int(most[i]))
            worst = spending if worst is None or spending.epsilon > worst.epsilon else worst
        assert worst is not None, "there is at least one client"
        return worst

    def each(self, participations: Counts) -> list[float]:
        """Returns, per client, an upper bound of the cost of its examples: ε by RDP, or that of the worst client if smaller.

        0 for a client that never took part.
        """
        worst = self.spent(participations).epsilon
        pairs = list(zip(self._group.tolist(), np.asarray(participations).tolist()))
        bounds = {(group, times): self._of(self._ledgers[group], times) for group, times in set(pairs)}
        return [min(bounds[pair], worst) for pair in pairs]

    @staticmethod
    def _of(ledger: Ledger, times: int) -> float:
        if ledger.account.reason:
            return math.inf
        return ledger.by_rdp(times) if times else 0.0

    def _most(self, participations: Counts) -> np.ndarray:
        """Returns int64 [sizes]: the largest number of participations among the clients of each size."""
        most = np.zeros(len(self._sizes), np.int64)
        np.maximum.at(most, self._group, np.asarray(participations, np.int64))
        return most
