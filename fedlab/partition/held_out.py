"""Held-out examples: clients evaluate models on them and do not train on them."""

from __future__ import annotations

import dataclasses

import numpy as np

from fedlab.draws import permutations
from fedlab.errors import ConfigError
from fedlab.ragged import Ragged, grouped
from fedlab.types import Partition


def hold_out(partition: Partition, share: float, seed: int, purpose: str = "held out") -> Partition:
    """Holds out round(`share` · n) of each client's n examples, drawn at random; each client trains on at least one.

    `share` in [0, 1); 0 returns the partition unchanged. A client's draw depends only on `seed` and its position in the
    partition. The same for the unseen clients, among themselves. Raises `ConfigError` if no client holds out an example.
    """
    if not share:
        return partition
    sizes, indices = partition.sizes, Ragged.of_sizes(partition.owned, partition.sizes).ascending()
    counts = nums_held_out(share, sizes)
    if not counts.any():
        raise ConfigError(holds_nothing_out(share, int(sizes.max())))
    is_held_out = np.zeros(len(indices.flat), bool)
    for size, alike in zip(*grouped(sizes)):
        clients, count = alike[counts[alike] > 0], int(counts[alike[0]])
        drawn = permutations(seed, purpose, clients, int(size))[:, :count]
        is_held_out[indices.offsets[clients, np.newaxis] + drawn] = True
    unseen = partition.unseen and hold_out(partition.unseen, share, seed, "held out by unseen clients")
    return dataclasses.replace(
        partition,
        indices=Ragged.of_sizes(indices.flat[~is_held_out], sizes - counts),
        held_out=Ragged.of_sizes(indices.flat[is_held_out], counts),
        unseen=unseen,
    )


def nums_held_out(share: float, sizes: np.ndarray) -> np.ndarray:
    """Returns the number of examples that each client of these `sizes` [clients] holds out; it trains on at least one."""
    return np.maximum(np.minimum(np.rint(share * sizes).astype(np.int64), sizes - 1), 0)


def num_held_out(share: float, num_examples: int) -> int:
    """Returns the number of examples that a client holds out; it trains on at least one."""
    return int(nums_held_out(share, np.array([num_examples]))[0])


def holds_nothing_out(share: float, largest: int) -> str:
    """Returns the error that no client holds out an example. `largest`: the number of examples of the largest client."""
    return (
        f"evaluation.holdout={share:g} holds nothing out: the share rounds to 0 examples of every client, or clients have only "
        f"one example, on which they train (the largest has {largest:,}): raise it, or use evaluation.holdout=0."
    )
