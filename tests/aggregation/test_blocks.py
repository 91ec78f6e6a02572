"""Sums by blocks are equal for every aggregator and mechanism, in any order in which the blocks are computed."""

from __future__ import annotations

import types

import numpy as np
import pytest

from fedlab.aggregation import Compressed, CoordinateMedian, Krum, Mean, Robust, TrimmedMean
from fedlab.engine import MOST_BLOCKS, block_size

BANK = np.random.default_rng(0).normal(size=(40, 123)) * 0.05
# The design's bound on what engines differ by, |a − b| / |b|
AGREEMENT = 1e-5


def mechanism(name):
    """A privacy mechanism in the place of an aggregator, by the name of its function."""

    def build():
        import tensorflow_federated as tff

        from fedlab.privacy import mechanisms

        made = {
            "gaussian_fixed": lambda: mechanisms.gaussian_fixed(1.0, 100.0, 0.5),
            "gaussian_adaptive": lambda: mechanisms.gaussian_adaptive(1.0, 100.0, 0.5, 0.5, 0.2, 5.0),
            "tree": lambda: mechanisms.tree(1.0, 100.0, 0.5, None, np.array([1, 2])),
        }[name]()
        return tff.aggregators.as_weighted_aggregator(made)

    return types.SimpleNamespace(build=build)


SLOTS = {
    "mean": Mean(),
    "robust": Robust(),
    "compressed": Compressed(threshold=100),
    "coordinate_median": CoordinateMedian(),
    "trimmed_mean": TrimmedMean(trim_fraction=0.2),
    "krum": Krum(num_byzantine=1, num_selected=3),
    **{name: mechanism(name) for name in ("gaussian_fixed", "gaussian_adaptive", "tree")},
}


def test_there_are_at_most_64_blocks_and_none_is_empty():
    for count in [*range(1, 700), 10_000, 1_000_003]:
        size = block_size(count)
        assert -(-count // size) <= MOST_BLOCKS and (size - 1) * MOST_BLOCKS < count
        assert size == 1 or count > MOST_BLOCKS
    assert block_size(0) == 0


@pytest.fixture(scope="module", params=SLOTS)
def aggregate(request, bench):
    return bench(SLOTS[request.param], BANK)


def bits(state):
    """Strings, which some mechanisms have in their state, are objects to NumPy."""
    arrays = [np.asarray(t) for t in state]
    return [a.tolist() if a.dtype == object else a.tobytes() for a in arrays]


def drawn(count):
    rng = np.random.default_rng(count)
    return rng.integers(0, len(BANK), count), rng.integers(1, 9, count)


@pytest.mark.sampled
@pytest.mark.parametrize("count", [1, 64])
def test_up_to_64_clients_merging_blocks_is_accumulating(aggregate, count, monkeypatch):
    rows, weights = drawn(count)
    flat, state = aggregate(rows, weights), aggregate.state
    monkeypatch.setattr("fedlab.engine.compiled.MOST_BLOCKS", 0)  # takes the graph of larger cohorts
    assert flat.tobytes() == aggregate(rows, weights).tobytes()
    assert bits(state) == bits(aggregate.state)


@pytest.mark.sampled
@pytest.mark.parametrize("count", [65, 130])
def test_blocks_computed_apart_in_any_order_give_the_same_bits(aggregate, count):
    rows, weights = drawn(count)
    whole, state = aggregate(rows, weights), aggregate.state
    apart, other = aggregate.computed_apart(rows, weights, seed=count)
    assert whole.tobytes() == apart.tobytes()
    assert bits(state) == bits(other)


ON_TFF = ["mean", *(pytest.param(n, marks=pytest.mark.slow) for n in ("robust", "coordinate_median", "trimmed_mean", "krum"))]


@pytest.mark.parametrize("name", ON_TFF)
def test_a_cohort_in_blocks_agrees_with_tff(bench, name):
    from fedlab.engine import Tff

    rows, weights = drawn(130)
    ours, theirs = bench(SLOTS[name], BANK), bench(SLOTS[name], BANK, Tff())
    try:
        expected = theirs(rows, weights)
        assert np.linalg.norm(ours(rows, weights) - expected) < AGREEMENT * np.linalg.norm(expected)
        assert ours.measured.keys() == theirs.measured.keys()
    finally:
        theirs.close()
