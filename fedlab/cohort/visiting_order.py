"""The order in which a client visits its examples."""

from __future__ import annotations

import numpy as np

from fedlab.randomness import generator


def visiting_order(num_examples: int, local_epochs: int, seed: int, round: int, client: int) -> np.ndarray:
    """Returns int32 [local_epochs, num_examples]: a new permutation of 0 … num_examples - 1 per local epoch.

    It depends only on (seed, round, client), not on the other clients or on earlier draws.
    """
    order = np.broadcast_to(np.arange(num_examples, dtype=np.int32), (local_epochs, num_examples))
    return generator(seed, "visiting order", round, client).permuted(order, axis=1)
