"""What every aggregator promises. A new one is one more row."""

from __future__ import annotations

import numpy as np
import pytest

from fedlab.aggregation import Compressed, CoordinateMedian, Krum, Mean, Robust, TrimmedMean

AGGREGATORS = {
    "mean": Mean(),
    "robust": Robust(),
    "compressed": Compressed(threshold=100),  # the tensor of 120 elements is quantised, the one of 3 is not
    "coordinate_median": CoordinateMedian(),
    "trimmed_mean": TrimmedMean(trim_fraction=0.2),
    "krum": Krum(num_byzantine=1),
    "multi_krum": Krum(num_byzantine=1, num_selected=3),
}
# Rows 0–9: random; 10: zeros; 11: all elements equal; 12: not numbers. Norms under 1, the first bound of adaptive clipping:
# 0.05 · √123 = 0.55 on average. Divided by 1024, so that sums of a few of them times whole weights are exact in float32.
RANDOM, ZERO, EQUAL, NAN = range(10), 10, 11, 12
_random = np.round(np.random.default_rng(0).normal(size=(10, 123)) * 0.05 * 1024) / 1024
BANK = np.concatenate([_random, np.zeros((1, 123)), np.full((1, 123), 1 / 32), np.full((1, 123), np.nan)])
# Two float32 roundings, of a sum and of its division by the weights, relative to elements of at most 0.25: 2 · 2⁻²⁴ · 0.25;
# another factor of 2 for products and a clip factor that is 1 but for rounding
ROUNDING = 6e-8


def step(row):
    """A quantised tensor is rounded to a neighbour on a grid of 2⁸ − 1 steps over its range."""
    return np.ptp(BANK[row, :120]) / 255


@pytest.fixture(scope="module", params=AGGREGATORS)
def aggregate(request, bench):
    made = bench(AGGREGATORS[request.param], BANK)
    made.quantises, made.takes_weights = request.param == "compressed", AGGREGATORS[request.param].takes_weights
    return made


@pytest.mark.parametrize("row", [0, 7, ZERO, EQUAL])
@pytest.mark.parametrize("n", [1, 2, 5, 6])
def test_identical_updates_come_back_unchanged(aggregate, row, n):
    result = aggregate([row] * n, weights=range(1, n + 1))
    allowed = np.full(123, ROUNDING)
    if aggregate.quantises:
        allowed[:120] += step(row)
    assert np.all(np.abs(result - BANK[row]) <= allowed)


def test_the_order_of_clients_does_not_matter(aggregate):
    """Engines sum in the order of the cohort, so floats may round in another way, and no more."""
    rows, weights, turn = [3, 1, 4, 0, 5, 9], [1, 2, 3, 4, 5, 6], [4, 2, 0, 5, 1, 3]
    straight = aggregate(rows, weights, keys=rows)
    turned = aggregate([rows[i] for i in turn], [weights[i] for i in turn], keys=[rows[i] for i in turn])
    assert np.abs(straight - turned).max() <= ROUNDING


@pytest.mark.parametrize("extra", [6, ZERO])
@pytest.mark.parametrize("at", [0, 3, 5])
def test_a_client_of_weight_zero_is_ignored(aggregate, extra, at):
    rows, weights = [0, 1, 2, 3, 4], [1, 2, 3, 4, 5]
    without = aggregate(rows, weights, keys=rows)
    beside = aggregate([*rows[:at], extra, *rows[at:]], [*weights[:at], 0, *weights[at:]], keys=[*rows[:at], 77, *rows[at:]])
    assert np.abs(without - beside).max() <= ROUNDING


@pytest.mark.parametrize("rows", [[0], [0, 1, 2, 3], [ZERO] * 5])
def test_nobody_of_any_weight_gives_zeros(aggregate, rows):
    assert np.array_equal(aggregate(rows, [0] * len(rows)), np.zeros(123))


def test_doubling_every_weight_changes_nothing(aggregate):
    rows = [5, 6, 7, 8, 9]
    assert np.abs(aggregate(rows, [1, 2, 3, 4, 5]) - aggregate(rows, [2, 4, 6, 8, 10])).max() <= ROUNDING


def test_weights_count_exactly_where_the_aggregator_says_so(aggregate):
    rows = [0, 1, 2, 3, 4]
    difference = np.abs(aggregate(rows, [1, 1, 1, 1, 1]) - aggregate(rows, [9, 1, 5, 1, 1])).max()
    assert difference > 0.01 if aggregate.takes_weights else difference == 0


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_a_small_cohort_gives_something_between_its_updates(aggregate, n):
    """Also where there are fewer clients than a rule was made for: dropouts are not known in advance."""
    rows = list(range(n))
    result, chosen = aggregate(rows), BANK[rows]
    slack = ROUNDING + (max(step(r) for r in rows) if aggregate.quantises else 0)
    assert np.all(result >= chosen.min(0) - slack) and np.all(result <= chosen.max(0) + slack)


def test_the_same_keys_give_the_same_bits(aggregate):
    assert np.array_equal(aggregate([1, 2, 3]), aggregate([1, 2, 3]))
