"""The order in which a client visits its examples."""

from __future__ import annotations

import numpy as np
import pytest

from fedlab.cohort import visiting_order


@pytest.mark.parametrize(("num_examples", "local_epochs"), [(1, 1), (1, 4), (2, 3), (60, 1), (60, 5), (1000, 2)])
@pytest.mark.parametrize("seed", [0, 3])
def test_each_epoch_visits_each_example_once(num_examples, local_epochs, seed):
    order = visiting_order(num_examples, local_epochs, seed, round=1, client=0)
    assert order.dtype == np.int32 and order.shape == (local_epochs, num_examples)
    assert np.array_equal(np.sort(order, axis=1), np.tile(np.arange(num_examples), (local_epochs, 1)))


def test_each_epoch_round_client_and_seed_has_its_own():
    orders = [visiting_order(60, 3, *where) for where in [(0, 1, 0), (0, 1, 1), (0, 2, 0), (1, 1, 0)]]
    assert len({tuple(epoch) for order in orders for epoch in order}) == 12
    assert np.array_equal(orders[0], visiting_order(60, 3, 0, 1, 0))


def test_permutations_are_uniform():
    rounds, n = 4000, 5
    position_counts = np.zeros((n, n))
    for round in range(rounds):
        position_counts[np.arange(n), visiting_order(n, 1, 0, round, client=2)[0]] += 1
    q = 1 / n
    assert np.abs(position_counts / rounds - q).max() < 5 * np.sqrt(q * (1 - q) / rounds)
