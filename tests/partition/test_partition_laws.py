"""What every partitioner promises, on one list: a new partitioner is one more row."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from fedlab.errors import DataError
from fedlab.partition import ByUser, Dirichlet, Iid, Pachinko, Pathological, Quantity, Shards, Single
from fedlab.types import ExampleSet

PARTITIONERS = [
    Iid(num_clients=1),
    Iid(num_clients=7),
    Iid(num_clients=500),
    Shards(num_clients=7),
    Shards(num_clients=20, shards_per_client=3),
    Shards(num_clients=500, shards_per_client=1),
    Dirichlet(num_clients=7, alpha=0.3),
    Dirichlet(num_clients=20, alpha=1e6),
    Dirichlet(num_clients=4, alpha=0.05),
    Dirichlet(num_clients=10, alpha=1, min_examples=10),
    Dirichlet(num_clients=7, alpha=0.3, by="user"),
    Dirichlet(num_clients=7, alpha=0.3, by="weight", bins=4),
    Pachinko(num_clients=7),
    Pachinko(num_clients=100, alpha=1e-6, beta=1e-6),
    Pachinko(num_clients=500, alpha=1e6, beta=1e6),
    Pathological(num_clients=10, classes_per_client=1),
    Pathological(num_clients=7, classes_per_client=3),
    Pathological(num_clients=3, classes_per_client=10),
    Quantity(num_clients=7, sigma=0),
    Quantity(num_clients=30, sigma=1.5),
    Quantity(num_clients=500, sigma=3),
    Quantity(num_clients=7, sigma=1e300),
    Single(),
    ByUser(),
    ByUser(min_examples=20),
    ByUser(max_users=5),
]
COVERS_ALL = [p for p in PARTITIONERS if p != ByUser(min_examples=20) and p != ByUser(max_users=5)]
NOT_RANDOM = [Iid(num_clients=1), Single(), ByUser(), ByUser(min_examples=20)]
SEEDS = (0, 1, 7)


def examples(num_examples=500, num_classes=10, seed=5) -> ExampleSet:
    """Labels in no order and not evenly many of each; 27 users."""
    rng = np.random.default_rng(seed)
    y = np.minimum(rng.integers(0, num_classes + 3, num_examples), num_classes - 1).astype(np.int32)
    x = np.zeros((num_examples, 1), np.uint8)
    users = rng.integers(0, 27, num_examples)
    attributes = {"weight": rng.gamma(2.0, size=num_examples), "coarse_label": np.array(["a", "b", "c"])[y % 3]}
    return ExampleSet(x, y, num_classes, user_ids=users, attributes=attributes)


def identical(a, b) -> bool:
    return a.client_ids == b.client_ids and all(np.array_equal(i, j) for i, j in zip(a.indices, b.indices))


@pytest.mark.parametrize("partitioner", PARTITIONERS, ids=repr)
@pytest.mark.parametrize("seed", SEEDS)
class TestEveryPartitioner:
    def test_no_example_goes_to_two(self, partitioner, seed):
        given = np.concatenate(partitioner(examples(), seed).indices)
        assert len(set(given)) == len(given) and given.min() >= 0 and given.max() < 500

    def test_nobody_is_empty_and_indices_are_int64(self, partitioner, seed):
        partition = partitioner(examples(), seed)
        assert partition.sizes.min() >= 1
        assert all(i.dtype == np.int64 and i.ndim == 1 for i in partition.indices)

    def test_same_seed_same_partition(self, partitioner, seed):
        assert identical(partitioner(examples(), seed), partitioner(examples(), seed))

    def test_number_of_clients_is_as_announced(self, partitioner, seed):
        partition = partitioner(examples(), seed)
        assert partitioner.known_num_clients in (None, len(partition))
        assert len(set(partition.client_ids)) == len(partition)


@pytest.mark.parametrize("partitioner", COVERS_ALL, ids=repr)
@pytest.mark.parametrize("seed", SEEDS)
def test_every_example_goes_to_somebody(partitioner, seed):
    assert sorted(np.concatenate(partitioner(examples(), seed).indices)) == list(range(500))


@pytest.mark.parametrize("partitioner", [p for p in PARTITIONERS if p not in NOT_RANDOM], ids=repr)
def test_another_seed_gives_another_partition(partitioner):
    assert not identical(partitioner(examples(), 0), partitioner(examples(), 1))


@pytest.mark.parametrize("partitioner", PARTITIONERS, ids=repr)
def test_a_seed_of_its_own_takes_the_place_of_the_runs(partitioner):
    own = partitioner.model_copy(update={"seed": 7})
    assert identical(own(examples(), 0), partitioner(examples(), 7)) and identical(own(examples(), 1), partitioner(examples(), 7))


BY_USER = [p for p in PARTITIONERS if p.needs_user_ids or getattr(p, "by", None) == "user"]


@pytest.mark.parametrize("partitioner", [p for p in PARTITIONERS if p not in BY_USER], ids=repr)
def test_user_ids_matter_to_by_user_alone(partitioner):
    with_ids = examples()
    without = dataclasses.replace(with_ids, user_ids=None)
    assert identical(partitioner(with_ids, 0), partitioner(without, 0))


@pytest.mark.parametrize(("kind", "options"), [(Iid, {}), (Shards, {}), (Dirichlet, {"alpha": 1}), (Quantity, {"sigma": 1})])
def test_more_clients_than_examples_is_one_line(kind, options):
    with pytest.raises(DataError, match="500 examples cannot be divided among 501 clients") as caught:
        kind(num_clients=501, **options)(examples(), 0)
    assert "\n" not in str(caught.value)
