"""What each partitioner promises of its own."""

from __future__ import annotations

import numpy as np
import pydantic
import pytest

from fedlab.config.composing import build_experiment, compose
from fedlab.errors import DataError
from fedlab.fingerprint import fingerprints
from fedlab.partition import ByUser, Dirichlet, Iid, Pathological, Quantity, Shards, heterogeneity, label_counts
from fedlab.run import inputs
from fedlab.types import ExampleSet, Partition


def examples(num_examples=2000, num_classes=10) -> ExampleSet:
    """Equally many of each class, in no order."""
    y = np.random.default_rng(1).permutation(np.arange(num_examples) % num_classes).astype(np.int32)
    return ExampleSet(np.zeros((num_examples, 1), np.uint8), y, num_classes)


def figures(partitioner, seed=0, data=None):
    data = data or examples()
    return heterogeneity(data.y, partitioner(data, seed), data.num_classes)


def test_iid_sizes_differ_by_one_at_most():
    sizes = Iid(num_clients=7)(examples(), 0).sizes
    assert sizes.max() - sizes.min() <= 1


@pytest.mark.parametrize("shards", [1, 2, 5])
def test_shards_within_classes_give_each_client_as_many_classes_at_most(shards):
    # 10 classes × 200 examples: shards of 2000 / (20 × S) examples end where a class ends
    for seed in range(5):
        spread = figures(Shards(num_clients=20, shards_per_client=shards), seed)
        assert spread.classes[2] <= shards and spread.examples == (100, 100.0, 100)


def test_uneven_shards_differ_by_one_each_and_touch_two_classes_each():
    for seed in range(5):
        spread = figures(Shards(num_clients=33, shards_per_client=2), seed)  # 66 shards of 30 or 31
        assert spread.examples[0] >= 60 and spread.examples[2] <= 62 and spread.classes[2] <= 4


@pytest.mark.parametrize(("num_clients", "classes"), [(10, 1), (10, 2), (7, 3), (40, 3), (3, 10)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_pathological_clients_have_as_many_classes_and_classes_as_many_clients(num_clients, classes, seed):
    given = examples()
    partition = Pathological(num_clients=num_clients, classes_per_client=classes)(given, seed)
    counts = label_counts(given.y, partition, 10)
    assert ((counts > 0).sum(axis=1) == classes).all()
    owners = (counts > 0).sum(axis=0)
    assert owners.max() - owners.min() <= 1
    for of_class in counts.T:
        assert of_class[of_class > 0].max() - of_class[of_class > 0].min() <= 1


@pytest.mark.parametrize(
    ("num_clients", "classes", "problem"),
    [
        (3, 2, "classes_per_client is 2: with 3 clients and 10 classes, it must be from 4 to 10"),
        (30, 11, "must be from 1 to 10"),
        (900, 10, r"class \d has 200 examples and belongs to 900 clients"),
    ],
)
def test_impossible_pathological_partitions_are_one_line(num_clients, classes, problem):
    with pytest.raises(DataError, match=problem):
        Pathological(num_clients=num_clients, classes_per_client=classes)(examples(), 0)


def test_too_many_shards_is_one_line():
    with pytest.raises(DataError, match="2000 examples cannot be cut into 3000 shards, 3 for each client"):
        Shards(num_clients=1000, shards_per_client=3)(examples(), 0)


def test_dirichlet_goes_from_one_class_to_equal_mixtures():
    distances = [figures(Dirichlet(num_clients=10, alpha=alpha)).mean_total_variation for alpha in (0.05, 0.5, 5, 1e6)]
    assert distances == sorted(distances, reverse=True)
    assert distances[0] > 0.6
    assert distances[-1] < 0.01 < figures(Iid(num_clients=10)).mean_total_variation  # stratified: closer than chance


def test_dirichlet_share_of_a_class_has_the_variance_of_the_distribution():
    alpha, clients = 0.7, 5
    data = examples(20_000, 10)
    shares = []
    for seed in range(60):
        counts = label_counts(data.y, Dirichlet(num_clients=clients, alpha=alpha)(data, seed), 10)
        shares.append(counts[0] / counts.sum(axis=0))
    variance = (1 / clients) * (1 - 1 / clients) / (alpha * clients + 1)
    assert np.mean(shares) == pytest.approx(1 / clients, abs=0.03)
    assert np.var(shares) == pytest.approx(variance, rel=0.15)


@pytest.mark.parametrize("alpha", [1e-6, 1e-3, 1e300])
def test_dirichlet_at_its_limits_is_a_partition_and_not_nan(alpha):
    data = examples(400, 40)
    partition = Dirichlet(num_clients=3, alpha=alpha)(data, 0)
    assert partition.sizes.sum() == 400 and partition.sizes.min() >= 1


def test_dirichlet_says_when_it_cannot():
    with pytest.raises(DataError, match=r"no draw of 50 with alpha=1e-06 gave each of 30 clients 1 examples \(at best 0\)"):
        Dirichlet(num_clients=30, alpha=1e-6, max_tries=50)(examples(), 0)  # 10 classes reach 10 clients
    with pytest.raises(DataError, match="2000 examples cannot give each of 10 clients 201"):
        Dirichlet(num_clients=10, alpha=1, min_examples=201)(examples(), 0)


def test_dirichlet_keeps_min_examples():
    for seed in range(5):
        assert Dirichlet(num_clients=10, alpha=0.5, min_examples=50)(examples(), seed).sizes.min() >= 50


def test_quantity_sizes_are_log_normal():
    sizes = Quantity(num_clients=2000, sigma=1.0)(examples(1_000_000), 0).sizes
    assert np.log(sizes).std() == pytest.approx(1.0, abs=0.06)  # standard error 1 / sqrt(2 × 2000) = 0.016
    equal = Quantity(num_clients=7, sigma=0)(examples(), 0).sizes
    assert equal.max() - equal.min() <= 1


def test_by_user_follows_the_ids():
    ids = np.array(["b", "a", "c", "a", "b", "a"])
    data = ExampleSet(np.zeros((6, 1), np.uint8), np.zeros(6, np.int32), 2, ids)
    everyone = ByUser()(data, 0)
    assert everyone.client_ids == ("a", "b", "c") and [list(i) for i in everyone.indices] == [[1, 3, 5], [0, 4], [2]]
    assert ByUser(min_examples=2)(data, 0).client_ids == ("a", "b")
    assert {ByUser(max_users=1, min_examples=2)(data, seed).client_ids for seed in range(20)} == {("a",), ("b",)}
    with pytest.raises(DataError, match="no user has 4 examples; the largest has 3"):
        ByUser(min_examples=4)(data, 0)
    with pytest.raises(DataError, match="needs user ids, and the data has none"):
        ByUser()(examples(), 0)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (Iid, {"num_clients": 0}),
        (Shards, {"num_clients": 1, "shards_per_client": 0}),
        (Dirichlet, {"num_clients": 2, "alpha": 0}),
        (Dirichlet, {"num_clients": 2, "alpha": float("nan")}),
        (Dirichlet, {"num_clients": 2, "alpha": float("inf")}),
        (Dirichlet, {"num_clients": 2, "alpha": 1, "min_examples": 0}),
        (Quantity, {"num_clients": 2, "sigma": -1}),
        (ByUser, {"max_users": 0}),
    ],
)
def test_options_out_of_range_are_refused(kind, options):
    with pytest.raises(pydantic.ValidationError):
        kind(**options)


def test_heterogeneity_by_hand():
    y = np.array([0, 0, 1, 1, 0, 1, 1, 1], np.int32)
    partition = Partition(("0", "1"), (np.array([0, 1]), np.array([2, 3, 4, 5])))  # two alike; three alike and one other
    got = heterogeneity(y, partition, num_classes=3)
    assert got.num_clients == 2 and got.examples == (2, 3.0, 4) and got.classes == (1, 1.5, 2)
    assert got.mean_label_entropy == pytest.approx((0 + 0.8112781) / 2)  # -(1/4 log2 1/4 + 3/4 log2 3/4)
    assert got.mean_total_variation == pytest.approx((0.5 + 0.25) / 2)  # all clients together: half and half
    assert label_counts(y, partition, 3).tolist() == [[2, 0, 0], [1, 3, 0]]


def test_runs_of_two_seeds_can_have_the_same_clients(tensorflow):
    """The test split, corruption and held-out examples belong to the data: they follow partition.seed, too."""
    words = ["partition=dirichlet", "corruption=inversion", "evaluation.holdout=0.2"]

    def data(*more):
        dataset, partition = inputs.load(build_experiment(compose([*words, *more])))
        held_out = partition.held_out
        return fingerprints(dataset, partition), [indices.tolist() for indices in held_out]

    assert data("seed=1", "partition.seed=0") == data("seed=2", "partition.seed=0") == data("seed=0")
    assert data("seed=1")[0][0] != data("seed=2")[0][0]
