"""Partitions in three arrays equal those of plain loops over the clients, and have the fingerprints of earlier versions."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from fedlab.errors import DataError
from fedlab.fingerprint import partition_fingerprint
from fedlab.partition import ByUser, Dirichlet, Iid, Pathological, Quantity, Shards, checked, everybody, hold_out, label_counts
from fedlab.ragged import Names, Ragged, chosen, flat_of, grouped, joined, sizes_of
from fedlab.randomness import generator
from fedlab.types import ExampleSet, Partition

N, CLIENTS, CLASSES = 997, 20, 10
RNG = np.random.default_rng(0)
Y = RNG.integers(0, CLASSES, N).astype(np.int32)
USERS = RNG.integers(-5, 60, N)
NAMED = np.array([f"writer {user} é" for user in USERS])


def examples(user_ids=None):
    return ExampleSet(np.zeros((N, 2), np.float32), Y, CLASSES, user_ids)


def by_loop(partitioner, seed):
    """The examples of each client, from the definition, one client after the other."""
    rng = generator(seed, "partition")
    match partitioner:
        case Iid():
            return np.array_split(rng.permutation(N), CLIENTS)
        case Quantity():
            share = partitioner.sigma * rng.standard_normal(CLIENTS)
            share = np.exp(share - share.max())
            ends = np.rint(np.cumsum(share) / share.sum() * (N - CLIENTS)).astype(np.int64) + np.arange(1, CLIENTS + 1)
            return np.split(rng.permutation(N), ends[:-1])
        case Shards():
            shuffled = rng.permutation(N)
            shards = np.array_split(shuffled[np.argsort(Y[shuffled], kind="stable")], 3 * CLIENTS)
            return [np.concatenate([shards[s] for s in hand]) for hand in rng.permutation(3 * CLIENTS).reshape(CLIENTS, 3)]
        case Pathological():
            owners = [[] for _ in range(CLASSES)]
            for client in rng.permutation(CLIENTS):
                for label in sorted(rng.permutation(CLASSES), key=lambda label: len(owners[label]))[:3]:
                    owners[label].append(client)
            shares = [[] for _ in range(CLIENTS)]
            for label, clients in enumerate(owners):
                for client, share in zip(clients, np.array_split(rng.permutation(np.flatnonzero(label == Y)), len(clients))):
                    shares[client].append(share)
            return [np.concatenate(share) for share in shares]
        case Dirichlet():
            ends = partitioner._draw_ends(np.bincount(Y, minlength=CLASSES), rng)
            cut = [np.split(rng.permutation(np.flatnonzero(label == Y)), e[:-1]) for label, e in enumerate(ends)]
            return [np.concatenate(client) for client in zip(*cut)]


@pytest.mark.parametrize("seed", [0, 7])
@pytest.mark.parametrize(
    "partitioner",
    [
        Iid(num_clients=CLIENTS),
        Quantity(num_clients=CLIENTS, sigma=1.2),
        Shards(num_clients=CLIENTS, shards_per_client=3),
        Pathological(num_clients=CLIENTS, classes_per_client=3),
        Dirichlet(num_clients=CLIENTS, alpha=0.3),
    ],
    ids=lambda p: type(p).__name__,
)
def test_a_partitioner_gives_what_a_loop_gives(partitioner, seed):
    partition, expected = partitioner(examples(), seed), by_loop(partitioner, seed)
    assert isinstance(partition.indices, Ragged) and partition.client_ids == tuple(map(str, range(CLIENTS)))
    assert [i.tolist() for i in partition.indices] == [sorted(mine.tolist()) for mine in expected]
    assert partition.sizes.tolist() == [len(mine) for mine in expected]
    assert np.array_equal(partition.owned, np.concatenate([np.sort(mine) for mine in expected]))


@pytest.mark.parametrize("users", [USERS, NAMED, USERS.astype(np.int32)], ids=["int64", "text", "int32"])
def test_users_are_those_of_a_loop(users):
    partition = ByUser(min_examples=14)(examples(users), 0)
    expected = {str(user): np.flatnonzero(users == user) for user in np.unique(users)}
    expected = {user: mine for user, mine in expected.items() if len(mine) >= 14}
    assert 1 < len(expected) < len(np.unique(users))
    assert list(partition.client_ids) == list(expected)
    assert all(np.array_equal(a, b) for a, b in zip(partition.indices, expected.values()))


def test_label_counts_are_those_of_a_loop():
    partition = Dirichlet(num_clients=CLIENTS, alpha=0.3)(examples(), 1)
    counts = label_counts(Y, partition, CLASSES)
    assert counts.dtype == np.int64
    assert np.array_equal(counts, np.stack([np.bincount(Y[i], minlength=CLASSES) for i in partition.indices]))


@pytest.mark.parametrize("share", [0.01, 0.3, 0.5, 0.9])
def test_held_out_examples_are_those_of_a_loop(share):
    partition = Quantity(num_clients=CLIENTS, sigma=1.2)(examples(), 2)
    found = hold_out(partition, share, 5)
    for client, indices in enumerate(partition.indices):
        shuffled = generator(5, "held out", client).permutation(np.sort(indices))
        count = max(min(round(share * len(indices)), len(indices) - 1), 0)
        assert found.held_out[client].tolist() == sorted(shuffled[:count].tolist())
        assert found.indices[client].tolist() == sorted(shuffled[count:].tolist())


def fingerprint_by_loop(partition):
    digest = hashlib.sha256()

    def add(indices):
        array = np.sort(indices)
        digest.update(f"{array.dtype.str}{array.shape}".encode() + array.tobytes())

    for name, indices in zip(partition.client_ids, partition.indices):
        digest.update(f"{name}\n".encode())
        add(indices)
    for indices in partition.held_out or ():
        add(indices)
    if partition.unseen is not None:
        digest.update(f"unseen {fingerprint_by_loop(partition.unseen)}".encode())
    return digest.hexdigest()


OWN = {
    "arrays in any order": Partition(("b", "a"), (np.array([3, 1]), np.array([2, 0, 5]))),
    "int32": Partition(("a", "b"), (np.array([3, 1], np.int32), np.array([2], np.int32))),
    "several types": Partition(("a", "b"), (np.array([3, 1], np.int32), np.array([2]))),
    "lists, nothing held out by one": Partition(("a", "é\n"), ([3, 1], [5]), ([7], [])),
}


@pytest.mark.parametrize("name", OWN)
def test_a_fingerprint_is_that_of_a_loop(name):
    assert partition_fingerprint(OWN[name]) == fingerprint_by_loop(OWN[name])


@pytest.mark.parametrize("users", [None, USERS, NAMED], ids=["numbered", "integers", "text"])
def test_a_fingerprint_with_held_out_examples_and_unseen_clients_is_that_of_a_loop(users):
    partitioner = Iid(num_clients=CLIENTS, unseen_clients=5) if users is None else ByUser(unseen_clients=5)
    partition = hold_out(partitioner.set_aside(partitioner(examples(users), 3), 3), 0.3, 3)
    assert partition.held_out is not None and partition.unseen is not None
    assert partition_fingerprint(partition) == fingerprint_by_loop(partition)


def test_fingerprints_are_those_that_earlier_versions_recorded():
    n = 12
    data = ExampleSet(np.zeros((n, 1), np.float32), np.zeros(n, np.int32), 2, np.arange(n) % 4)
    assert partition_fingerprint(ByUser()(data, 0)).startswith("c13ccf2e92854a40")
    assert partition_fingerprint(Iid(num_clients=5)(data, 0)).startswith("59cded1b68114450")


def test_a_ragged_array_reads_as_a_sequence_of_arrays():
    given = [np.array(values, np.int64) for values in ([5, 2], [], [7], [9, 8, 1])]
    ragged = Ragged.of(given)
    assert isinstance(ragged, Ragged) and len(ragged) == 4 and Ragged.of(ragged) is ragged
    assert [a.tolist() for a in ragged] == [a.tolist() for a in given] == [ragged[i].tolist() for i in range(4)]
    assert ragged[-1].tolist() == [9, 8, 1] and [a.tolist() for a in ragged[1:3]] == [[], [7]]
    with pytest.raises(IndexError):
        ragged[4]
    assert ragged.sizes.tolist() == sizes_of(given).tolist() == [2, 0, 1, 3]
    assert ragged.flat.tolist() == flat_of(given).tolist() == np.concatenate(given).tolist()
    assert [a.tolist() for a in ragged.ascending()] == [sorted(a.tolist()) for a in given]
    assert [a.tolist() for a in ragged.select(np.array([3, 0, 3]))] == [[9, 8, 1], [5, 2], [9, 8, 1]]
    assert [a.tolist() for a in joined(ragged, ragged)] == 2 * [a.tolist() for a in given]


def test_what_is_no_list_of_integer_arrays_stays_as_it_is():
    for given in ((), ([0.5],), ([True],), (np.zeros((1, 1), int),), (np.array([1]), np.array([1], np.int8)), ([[1], [2, 3]],)):
        assert Ragged.of(given) is given


def test_names_are_those_texts():
    for names, texts in ((Names(np.array([7, -2, 10])), ("7", "-2", "10")), (Names(np.array(["é", "b"])), ("é", "b"))):
        assert names == texts and texts == tuple(names) and names != texts[:-1] and hash(names) == hash(texts)
        assert [names[i] for i in range(-1, len(texts))] == [texts[i] for i in range(-1, len(texts))]
        assert texts[0] in names and "no name" not in names and names.index(texts[-1]) == len(texts) - 1
        assert chosen(names, np.array([1, 0])) == (texts[1], texts[0]) and joined(names, texts) == texts * 2
    assert Names.of(np.array([0.5, 1.0])) == ("0.5", "1.0")


@pytest.mark.parametrize("values", [np.zeros(0, np.int64), USERS, NAMED], ids=["none", "integers", "text"])
def test_groups_are_those_of_a_loop(values):
    distinct, positions = grouped(values)
    assert distinct.tolist() == sorted(set(values.tolist())) and len(positions) == len(distinct)
    assert all(np.array_equal(mine, np.flatnonzero(values == value)) for value, mine in zip(distinct, positions))


def test_a_mistake_is_named_as_before_and_a_division_passes():
    good = Partition(Names(np.arange(2)), Ragged(np.array([4, 0, 2]), np.array([0, 2, 3])))
    assert checked(good, 5, "own") is good and [i.tolist() for i in everybody(good).indices] == [[4, 0], [2]]
    for flat, offsets, says in (
        ([4, 0, 4], [0, 2, 3], "gives the index 4 to client 0 and to client 1"),
        ([4, 4, 2], [0, 2, 3], "gives client 0 the index 4 twice"),
        ([4, 0, 5], [0, 2, 3], "gives client 1 the index 5"),
        ([4, 0, 2], [0, 3, 3], "gives client 1 no example"),
    ):
        with pytest.raises(DataError, match=says):
            checked(Partition(Names(np.arange(2)), Ragged(np.array(flat), np.array(offsets))), 5, "own")
    with pytest.raises(DataError, match="two clients of the name '3'"):
        checked(Partition(Names(np.array([3, 3])), good.indices), 5, "own")
