"""Held-out examples: clients evaluate models on them and do not train on them."""

from __future__ import annotations

import dataclasses

import numpy as np

from fedlab.errors import ConfigError
from fedlab.randomness import generator
from fedlab.types import Partition


def hold_out(partition: Partition, share: float, seed: int, purpose: str = "held out") -> Partition:
    """Holds out round(`share` · n) of each client's n examples, drawn at random; each client trains on at least one.

    `share` in [0, 1); 0 returns the partition unchanged. A client's draw depends only on `seed` and its position in the
    partition. The same for the unseen clients, among themselves. Raises `ConfigError` if no client holds out an example.
    """
    if not share:
        return partition
    train, held_out = [], []
    for client, indices in enumerate(partition.indices):
        shuffled = generator(seed, purpose, client).permutation(np.sort(indices))
        count = num_held_out(share, len(indices))
        held_out.append(np.sort(shuffled[:count]))
        train.append(np.sort(shuffled[count:]))
    if not any(map(len, held_out)):
        raise ConfigError(holds_nothing_out(share, int(partition.sizes.max())))
    unseen = partition.unseen and hold_out(partition.unseen, share, seed, "held out by unseen clients")
    return dataclasses.replace(partition, indices=tuple(train), held_out=tuple(held_out), unseen=unseen)


def num_held_out(share: float, num_examples: int) -> int:
    """Returns the number of examples that a client holds out; it trains on at least one."""
    return max(min(round(share * num_examples), num_examples - 1), 0)


def holds_nothing_out(share: float, largest: int) -> str:
    """Returns the error that no client holds out an example. `largest`: the number of examples of the largest client."""
    return (
        f"evaluation.holdout={share:g} holds nothing out: the share rounds to 0 examples of every client, or clients have only "
        f"one example, on which they train (the largest has {largest:,}): raise it, or use evaluation.holdout=0."
    )
