"""Clients that are never trained: how many, which, and what stays with the others."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from fedlab.errors import ConfigError, DataError
from fedlab.fingerprint import partition_fingerprint
from fedlab.partition import ByUser, Iid, Single, everybody, hold_out
from fedlab.types import ExampleSet


def examples(n=200) -> ExampleSet:
    rng = np.random.default_rng(3)
    return ExampleSet(np.zeros((n, 1), np.uint8), rng.integers(0, 5, n).astype(np.int32), 5, rng.integers(0, 40, n))


def divided(partitioner, seed=0):
    return partitioner.set_aside(partitioner(examples(), seed), seed)


@pytest.mark.parametrize("unseen, count", [(1, 1), (9, 9), (0.1, 1), (0.34, 3), (0.86, 9)])
def test_a_number_or_a_share_of_the_clients(unseen, count):
    partitioner = Iid(num_clients=10, unseen_clients=unseen)
    partition = divided(partitioner)
    assert len(partition.unseen) == count and len(partition) == 10 - count == partitioner.known_num_trained


@pytest.mark.parametrize("partitioner", [Iid(num_clients=10, unseen_clients=3), ByUser(unseen_clients=0.2)], ids=repr)
def test_the_clients_are_those_of_the_partition_without_unseen_ones(partitioner):
    whole, partition = partitioner(examples(), 0), divided(partitioner)
    both = dict(zip(everybody(partition).client_ids, everybody(partition).indices))
    assert sorted(both) == sorted(whole.client_ids)
    assert all(np.array_equal(both[name], own) for name, own in zip(whole.client_ids, whole.indices))
    for part in (partition, partition.unseen):  # in the order of the partition
        places = [whole.client_ids.index(name) for name in part.client_ids]
        assert places == sorted(places)


def test_they_follow_from_the_seed_alone():
    names = {seed: divided(Iid(num_clients=50, unseen_clients=10), seed).unseen.client_ids for seed in range(3)}
    assert names[0] == divided(Iid(num_clients=50, unseen_clients=10), 0).unseen.client_ids
    assert len(set(names.values())) == 3
    assert divided(Iid(num_clients=50, unseen_clients=10, seed=1), 0).unseen.client_ids == names[1]


def test_without_unseen_clients_nothing_changes():
    whole = Iid(num_clients=10)(examples(), 0)
    assert Iid(num_clients=10).set_aside(whole, 0) is whole and everybody(whole) is whole


def test_they_hold_out_examples_of_their_own():
    partition = hold_out(divided(Iid(num_clients=10, unseen_clients=4)), 0.25, 0)
    for own, mine, whole in zip(
        partition.unseen.held_out, partition.unseen.indices, divided(Iid(num_clients=10, unseen_clients=4)).unseen.indices
    ):
        assert len(own) == 5 and np.array_equal(np.sort([*own, *mine]), whole)


def test_the_fingerprint_covers_them():
    plain = divided(Iid(num_clients=10))
    some, others = (divided(Iid(num_clients=10, unseen_clients=n)) for n in (1, 2))
    assert len({partition_fingerprint(p) for p in (plain, some, others)}) == 3
    assert partition_fingerprint(some) != partition_fingerprint(hold_out(some, 0.5, 0))


@pytest.mark.parametrize("wrong", [-1, 1.0, 2.5, -0.1, "many", True, None])
def test_other_values_are_refused(wrong):
    with pytest.raises(ValidationError, match="a number of clients, such as 20, or a share"):
        Iid(num_clients=10, unseen_clients=wrong)


@pytest.mark.parametrize("unseen, count", [(10, 10), (12, 12), (0.99, 10), (0.01, 0)])
def test_some_are_trained_and_some_unseen(unseen, count):
    with pytest.raises(
        DataError, match=rf"unseen_clients={unseen:g} of 10 clients is {count}: at least one client must be trained"
    ):
        Iid(num_clients=10, unseen_clients=unseen).known_num_trained  # noqa: B018
    with pytest.raises(DataError, match="of 1 client is 1"):
        divided(Single(unseen_clients=1))


def test_someone_unseen_holds_something_out():
    sizes = Iid(num_clients=100, unseen_clients=2)  # two examples each
    with pytest.raises(ConfigError, match="holds nothing out"):
        hold_out(divided(sizes), 0.2, 0)
