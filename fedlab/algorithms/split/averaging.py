"""The mean of several copies of a part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def mean_of(copies: Sequence[tuple[int, Sequence[Any]]]) -> list[np.ndarray]:
    """Returns the weighted mean, tensor by tensor; each copy comes with its weight. A single copy is returned bit for bit."""
    shares = np.array([count for count, _ in copies], np.float64)
    shares /= shares.sum()
    tensors = zip(*(weights for _, weights in copies))
    return [
        sum(s * np.asarray(t, np.float64) for s, t in zip(shares, same)).astype(np.asarray(same[0]).dtype) for same in tensors
    ]
