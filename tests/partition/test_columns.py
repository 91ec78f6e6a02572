"""Partitions over columns: `partition=dirichlet partition.by=COLUMN` and `partition=pachinko`."""

from __future__ import annotations

import numpy as np
import pytest

from fedlab.data import Npz, Table
from fedlab.errors import DataError
from fedlab.partition import Dirichlet, Pachinko
from fedlab.partition.grouping import groups_of
from fedlab.tasks import Regression
from fedlab.types import ExampleSet

N = 400


def examples(**attributes) -> ExampleSet:
    rng = np.random.default_rng(1)
    y = rng.integers(0, 5, N).astype(np.int32)
    return ExampleSet(np.zeros((N, 1), np.uint8), y, 5, rng.integers(0, 9, N), attributes=attributes)


def test_the_label_is_the_default_and_has_a_name():
    a, b = (Dirichlet(num_clients=6, alpha=0.5, by=by)(examples(), 0) for by in (None, "label"))
    assert all(map(np.array_equal, a.indices, b.indices))


@pytest.mark.parametrize("by", ["user", "town"])
def test_each_client_gets_few_groups_of_the_column_and_any_class(by):
    """At a tiny alpha each group goes to one client."""
    data = examples(town=np.array(["Bonn", "", "Ulm", "Jena"])[np.random.default_rng(2).integers(0, 4, N)])
    groups = data.user_ids if by == "user" else data.attributes["town"]
    partition = Dirichlet(num_clients=2, alpha=1e-6, by=by)(data, 0)
    held = [set(groups[i]) for i in partition.indices]
    assert not held[0] & held[1] and held[0] | held[1] == set(groups)
    assert all(len(set(data.y[i])) == 5 for i in partition.indices)


def test_numbers_are_cut_at_quantiles_and_missing_ones_are_a_group():
    values = np.arange(N, dtype=np.float64)
    groups, count = groups_of(examples(age=values), "age", 8)
    assert count == 8 and np.bincount(groups).tolist() == [50] * 8 and np.all(np.diff(groups) >= 0)
    values[:100] = np.nan
    groups, count = groups_of(examples(age=values), "age", 3)
    assert count == 4 and np.bincount(groups).tolist() == [100] * 4 and set(groups[:100]) == {3}


def test_few_numbers_are_groups_by_value_and_whole_numbers_always():
    rng = np.random.default_rng(0)
    few, many = rng.choice([0.5, 7.0, 9.0], N), rng.integers(0, 50, N)
    assert groups_of(examples(few=few), "few", 3)[1] == 3
    assert np.array_equal(groups_of(examples(few=few), "few", 3)[0], np.searchsorted([0.5, 7.0, 9.0], few))
    assert groups_of(examples(many=many), "many", 3)[1] == len(np.unique(many))


def test_skewed_numbers_keep_equal_values_together():
    values = np.where(np.arange(N) < 350, 0.0, np.arange(N))
    groups, count = groups_of(examples(v=values), "v", 4)
    assert 2 <= count <= 4 and len(set(groups[:350])) == 1 and not set(groups[:350]) & set(groups[350:])


def test_numbers_as_targets():
    x, y = np.zeros((N, 1), np.float32), np.arange(N, dtype=np.float32)
    data = ExampleSet(x, y, task=Regression())
    partition = Dirichlet(num_clients=2, alpha=1e-6, by="target")(data, 0)
    assert len(partition) == 2
    with pytest.raises(
        DataError, match=r"divides by label, and the task of this data is regression\. Set partition\.by to one of: target\."
    ):
        Dirichlet(num_clients=2, alpha=1)(data, 0)


def test_another_name_is_refused_with_the_columns_that_exist():
    with pytest.raises(
        DataError, match=r"partition\.by=twn: this data has no such column\. Did you mean 'town'\? It has: label, user, town\."
    ):
        Dirichlet(num_clients=2, alpha=1, by="twn")(examples(town=np.zeros(N)), 0)
    with pytest.raises(DataError, match=r"no column town \(partition\.by\).* It has: city\."):
        Pachinko(num_clients=2, by="town")(examples(city=np.zeros(N)), 0)
    with pytest.raises(DataError, match=r"It has none; data=cifar100 has coarse_label\."):
        Pachinko(num_clients=2)(examples(), 0)


def test_own_files_have_their_columns(tmp_path):
    rows = [f"{i % 7},{'ab'[i % 2]},{'yes' if i % 3 else 'no'}" for i in range(60)]
    (tmp_path / "t.csv").write_text("\n".join(["age,ward,sick", *rows]))
    train = Table(path=str(tmp_path / "t.csv"), target="sick").load(0).train
    assert set(train.attributes) == {"age", "ward"} and set(train.attributes["ward"]) == {"a", "b"}
    partition = Dirichlet(num_clients=2, alpha=1e-6, by="ward", seed=3)(train, 0)
    assert [len(set(train.attributes["ward"][i])) for i in partition.indices] == [1, 1]
    arrays = dict(x=np.zeros((6, 2)), y=[0, 1] * 3, town=list("aabbcc"), table=np.zeros((6, 2)))
    np.savez(tmp_path / "a.npz", **arrays)
    own = Npz(path=str(tmp_path / "a.npz")).load(0).train
    assert list(own.attributes) == ["town"] and len(own.attributes["town"]) == len(own) == 5


# -- Pachinko ------------------------------------------------------------------------------------------------------------------


def hierarchy(sizes: dict[str, list[int]]) -> ExampleSet:
    """`sizes`: the number of examples of each class of a coarse label."""
    y = np.repeat(np.arange(sum(map(len, sizes.values()))), [n for fine in sizes.values() for n in fine]).astype(np.int32)
    coarse = np.repeat(list(sizes), [sum(fine) for fine in sizes.values()])
    return ExampleSet(np.zeros((len(y), 1), np.uint8), y, int(y.max()) + 1, attributes={"coarse_label": coarse})


def counts(partition, data):
    return sorted(tuple(np.bincount(data.y[i], minlength=data.num_classes).tolist()) for i in partition.indices)


@pytest.mark.parametrize("seed", range(6))
def test_by_hand(seed):
    """At a tiny alpha a client stays with one coarse label while it lasts. A has 3 examples, B 5, two clients get 4 each: whoever
    takes A runs out of it and takes one of B; the other has 4 of B."""
    data = hierarchy({"A": [3], "B": [5]})
    assert counts(Pachinko(num_clients=2, alpha=1e-6)(data, seed), data) == [(0, 4), (3, 1)]


@pytest.mark.parametrize("seed", range(6))
def test_by_hand_within_a_coarse_label(seed):
    """The same between the classes of one coarse label, at a tiny beta."""
    data = hierarchy({"A": [3, 5]})
    assert counts(Pachinko(num_clients=2, beta=1e-6)(data, seed), data) == [(0, 4), (3, 1)]


def test_marginals():
    """Two examples of the first client: E Σθ² of a symmetric Dirichlet over K is (α + 1) / (K α + 1)."""
    data, tries = hierarchy({str(c): [3] * 5 for c in range(20)}), 4000
    rng, partitioner = np.random.default_rng(0), Pachinko(num_clients=2, alpha=0.1, beta=10.0)
    pairs, firsts = [], np.zeros(100)
    for _ in range(tries):
        tree = {str(c): list(range(5 * c, 5 * c + 5)) for c in range(20)}
        left = {c: [3 * c, 3 * c + 1, 3 * c + 2] for c in range(100)}
        pairs.append(data.y[partitioner._draw(2, tree, left, rng)])
        firsts[pairs[-1][0]] += 1
    a, b = np.array(pairs).T
    same_coarse, expected = a // 5 == b // 5, 1.1 / 3
    assert same_coarse.mean() == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / tries))
    fine = 11 / 51
    assert (a == b)[same_coarse].mean() == pytest.approx(fine, abs=4 * np.sqrt(fine * (1 - fine) / same_coarse.sum()))
    assert ((firsts - tries / 100) ** 2 / (tries / 100)).sum() < 99 + 4 * np.sqrt(2 * 99)  # χ² with 99 degrees of freedom


def test_sizes_and_mixtures_of_the_federation_of_tff():
    """500 clients of 100 examples, 100 classes of 500: each client has few coarse labels, and several classes of each."""
    data = hierarchy({f"{c:02}": [50] * 5 for c in range(20)})
    partition = Pachinko(num_clients=50)(data, 0)
    assert set(partition.sizes) == {100}
    assert sorted(np.concatenate(partition.indices)) == list(range(5000))
    coarse = [len(set(data.y[i] // 5)) for i in partition.indices]
    assert 3 < np.mean(coarse) < 10 and np.mean([len(set(data.y[i])) for i in partition.indices]) > 3 * np.mean(coarse)


def test_a_class_of_two_coarse_labels_is_refused():
    data = examples(coarse_label=np.array(list("ab") * (N // 2)))
    with pytest.raises(DataError, match=r"examples of class 0 have the values a and b"):
        Pachinko(num_clients=2)(data, 0)
