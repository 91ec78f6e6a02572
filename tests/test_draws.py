"""Draws of many generators at once are those of the generators, to the bit."""

from __future__ import annotations

import numpy as np
import pytest

from fedlab import draws
from fedlab.randomness import generator

SEEDS = [0, 7, 2**32 - 1, 2**32, 2**63 - 1]
NUMBERS = np.array([0, 1, 2, 1000, 2**31, 2**32 - 1, 2**32, 2**40 + 5, 2**63, 2**64 - 1], np.uint64)


@pytest.mark.parametrize("seed", SEEDS)
def test_uniforms(seed):
    found = draws.uniforms(seed, "corruption", NUMBERS)
    assert found.tolist() == [generator(seed, "corruption", n).random() for n in NUMBERS.tolist()]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("size", [1, 2, 3, 10, 101])
def test_permutations(seed, size, monkeypatch):
    monkeypatch.setattr(draws, "_FEW", 0)  # these few are computed like many
    found = draws.permutations(seed, "held out", NUMBERS, size)
    assert found.tolist() == [generator(seed, "held out", n).permutation(size).tolist() for n in NUMBERS.tolist()]


def test_of_nobody():
    assert draws.uniforms(0, "a", np.zeros(0, np.int64)).shape == (0,)
    assert draws.permutations(0, "a", np.zeros(0, np.int64), 4).shape == (0, 4)


def test_many_clients():
    clients = np.arange(3_000)
    assert draws.uniforms(3, "x", clients).tolist() == [generator(3, "x", c).random() for c in clients]
    for size in (2, 7, 300, 301):  # the last ones are drawn by generators
        found = draws.permutations(3, "x", clients, size)
        assert found.tolist() == [generator(3, "x", c).permutation(size).tolist() for c in clients]


def test_in_several_parts(monkeypatch):
    monkeypatch.setattr(draws, "_MOST", 10)
    found = draws.permutations(3, "x", np.arange(100), 4)
    assert found.tolist() == [generator(3, "x", c).permutation(4).tolist() for c in range(100)]
