"""Contributions of a few clients, small but of every kind: floats, matrices, integers, an empty tensor, a number."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from fedlab.secure import Layout


@dataclasses.dataclass(frozen=True)
class Clients:
    """Contributions by client number, and what their plain sum is."""

    contributions: dict
    layout: Layout

    def sum(self, clients):
        arrays = [self.contributions[c] for c in clients]
        return [
            sum((a[i].astype(np.float64 if t.is_float else np.int64) for a in arrays), np.zeros(t.shape, np.int64))
            for i, t in enumerate(self.layout.tensors)
        ]

    def of(self, clients):
        """One at a time."""
        return (self.contributions[c] for c in clients)


@pytest.fixture(scope="session")
def make_clients():
    """make_clients(numbers, seed): float32 values that are multiples of 2⁻¹⁰, so that every order of adding them is exact."""

    def make(numbers, seed=0):
        contributions = {}
        for number in numbers:
            rng = np.random.default_rng([seed, number])
            contributions[number] = [
                (rng.integers(-2000, 2000, (17, 5)) / 1024).astype(np.float32),
                rng.integers(0, 2**31, 3).astype(np.int64),
                np.float32(rng.integers(-9, 9) / 4),
                np.zeros((0, 4), np.float32),
                rng.integers(-5, 5, (2, 2)).astype(np.int32),
                (rng.integers(-2000, 2000, 33) / 1024).astype(np.float64),
            ]
        arrays = next(iter(contributions.values()))
        return Clients(contributions, Layout.of(arrays, bounds=[None, 2**31, None, None, 5, None]))

    return make
