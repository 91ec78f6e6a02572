"""What an engine is given in a round is a function of (seed, round, client) alone."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from fedlab.cohort import Poisson, Uniform
from fedlab.run.rounds import prepared_rounds, round_input
from fedlab.types import Cohort, Partition

NOBODY = np.zeros(0, np.int64)
SIZES = (7, 1, 20, 13, 4)
EPOCHS = 3


@pytest.fixture
def partition():
    cuts = np.cumsum(SIZES)[:-1]
    return Partition(tuple("abcde"), tuple(np.split(np.random.default_rng(0).permutation(sum(SIZES)), cuts)))


def given(partition, clients, round=1, seed=0):
    return round_input(partition, Cohort(round, np.array(clients, np.int64), NOBODY), EPOCHS, seed)


def client(made, k):
    """What the `k`-th client of a round is given."""
    begin, end = made.row_splits[k : k + 2]
    return made.indices[begin:end].tolist(), made.order[:, begin:end].tolist(), made.keys[k].tolist()


def test_a_client_is_given_the_same_whoever_else_takes_part(partition):
    everybody = given(partition, range(5))
    for clients in ([2], [0, 2], [2, 3, 4], [1, 2, 4]):
        some = given(partition, clients)
        for k, c in enumerate(clients):
            assert client(some, k) == client(everybody, c)
        assert np.array_equal(some.server_key, everybody.server_key)


@pytest.mark.parametrize("other", [{"round": 2}, {"seed": 1}])
def test_another_round_or_seed_is_another_order_and_other_keys(partition, other):
    one, two = given(partition, [0, 2]), given(partition, [0, 2], **other)
    for k in range(2):
        assert client(one, k)[0] == client(two, k)[0]  # the same examples
        assert client(one, k)[1] != client(two, k)[1] and client(one, k)[2] != client(two, k)[2]
    assert not np.array_equal(one.server_key, two.server_key)


def test_keys_are_all_different(partition):
    made = [given(partition, range(5), round, seed) for round in range(1, 40) for seed in range(3)]
    keys = [tuple(key) for m in made for key in [*m.keys, m.server_key]]
    assert len(set(keys)) == len(keys) == 39 * 3 * 6
    assert all(k.dtype == np.int64 for m in made for k in (m.keys, m.server_key))


def test_clients_hold_their_examples_and_visit_each_once_an_epoch(partition):
    made = given(partition, [3, 4, 1])
    assert made.row_splits.tolist() == [0, 13, 17, 18]
    assert made.order.shape == (EPOCHS, 18)
    for k, c in enumerate([3, 4, 1]):
        indices, order, _ = client(made, k)
        assert indices == partition.indices[c].tolist()
        assert all(sorted(epoch) == list(range(SIZES[c])) for epoch in order)
    assert {getattr(made, f).dtype for f in ("indices", "row_splits", "order")} == {np.dtype(np.int32)}


def test_nobody_is_a_round_too(partition):
    made = given(partition, [])
    shapes = {f.name: np.shape(getattr(made, f.name)) for f in dataclasses.fields(made)}
    assert shapes.pop("round") == () and shapes.pop("clients") == (0,) and made.kept == () and shapes.pop("kept")
    assert shapes == {"indices": (0,), "row_splits": (1,), "order": (EPOCHS, 0), "keys": (0, 2), "server_key": (2,)}


@pytest.mark.parametrize("sampler", [Uniform(clients_per_round=2), Poisson(sampling_rate=0.2, dropout_rate=0.3)], ids=repr)
def test_prepared_rounds_are_those_of_each_round_by_itself(partition, sampler):
    made = list(prepared_rounds(partition, sampler, EPOCHS, 7, 3, 12))
    assert [cohort.round for cohort, _ in made] == list(range(3, 13))
    for cohort, prepared in made:
        expected = sampler(5, 7, cohort.round)
        assert np.array_equal(cohort.clients, expected.clients) and np.array_equal(cohort.dropped, expected.dropped)
        alone = given(partition, expected.clients, cohort.round, 7)
        for f in dataclasses.fields(alone):
            assert np.array_equal(getattr(prepared, f.name), getattr(alone, f.name))


def test_an_error_while_preparing_reaches_the_caller(partition):
    with pytest.raises(ValueError, match="non-negative"):
        list(prepared_rounds(partition, Uniform(clients_per_round=2), EPOCHS, -1, 1, 2))
