"""Examples that clients keep from training, to judge models by."""

from __future__ import annotations

import dataclasses

import numpy as np

from fedlab.errors import ConfigError
from fedlab.randomness import generator
from fedlab.types import Partition


def hold_out(partition: Partition, share: float, seed: int) -> Partition:
    """Every client keeps round(`share` · n) of its n examples from training, drawn at random, and trains on at least one.

    `share` in [0, 1); with 0 the partition as it is. A client's choice depends on `seed` and its place in the partition alone.
    Raises `ConfigError` where no client keeps any.
    """
    if not share:
        return partition
    train, held_out = [], []
    for client, indices in enumerate(partition.indices):
        shuffled = generator(seed, "held out", client).permutation(np.sort(indices))
        count = min(round(share * len(indices)), len(indices) - 1)
        held_out.append(np.sort(shuffled[:count]))
        train.append(np.sort(shuffled[count:]))
    if not any(map(len, held_out)):
        raise ConfigError(
            f"evaluation.holdout={share:g} holds nothing out: it is less than half an example of every client's, and none "
            f"has more than {partition.sizes.max():,}; and each trains on at least one: raise it, or use evaluation.holdout=0."
        )
    return dataclasses.replace(partition, indices=tuple(train), held_out=tuple(held_out))
