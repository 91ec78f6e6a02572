"""Each aggregation rule against its formula in numpy."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pydantic
import pytest
import tensorflow as tf

from fedlab.aggregation import Compressed, CoordinateMedian, Krum, Mean, Robust, TrimmedMean, stacked
from fedlab.errors import ConfigError

ROUNDING = 1e-6  # a handful of float32 roundings (2⁻²⁴ = 6e-8 each) of elements of about 1


def compiled(rule):
    """`rule` on arrays; traced once for all numbers of clients, as in a run."""
    graph = tf.function(rule, autograph=False, input_signature=[tf.TensorSpec([None, None], tf.float32)])
    return lambda updates: graph(tf.constant(updates, tf.float32)).numpy()


def applied(rule, updates):
    return compiled(rule)(updates)


def updates(n, size=50, seed=0):
    return np.random.default_rng(seed).normal(size=(n, size)).astype(np.float32)


class TestMean:
    def test_is_weighted(self, bench):
        bank = updates(5, 123)
        weights = [1, 20, 3, 7, 0]
        expected = np.average(bank, axis=0, weights=weights)
        assert np.abs(bench(Mean(), bank)(range(5), weights) - expected).max() < ROUNDING


def test_rows_keep_their_order_and_number_while_the_stack_grows():
    sizes = [1] * 40 + [0, 70, 3, 31, 1]
    bank = updates(sum(sizes), 4)

    def stack(stacked_, recent, rows):
        return stacked.appended(stacked_, recent, rows)

    graph = tf.function(stack, autograph=False, input_signature=[tf.TensorSpec([None, 4])] * 3)
    parts, begin = (tf.zeros([0, 4]), tf.zeros([0, 4])), 0
    for size in sizes:
        parts = graph(*parts, tf.constant(bank[begin : begin + size]))
        begin += size
        assert np.array_equal(np.concatenate(parts), bank[:begin]) and len(parts[1]) < stacked.RECENT


class TestCoordinateMedian:
    @pytest.mark.parametrize("n", [1, 2, 7, 10])
    @pytest.mark.parametrize("size", [stacked.COLUMNS, stacked.COLUMNS + 1, 2 * stacked.COLUMNS + 5])
    def test_has_the_bits_of_a_sort(self, n, size):
        ordered = np.sort(updates(n, size), axis=0)
        expected = np.float32(0.5) * (ordered[(n - 1) // 2] + ordered[n // 2])
        assert np.array_equal(applied(stacked.coordinate_median, updates(n, size)), expected)

    def test_is_that_of_numpy(self):
        median = compiled(stacked.coordinate_median)
        for n in (1, 2, 3, 4, 9, 10):
            assert np.abs(median(updates(n)) - np.median(updates(n), axis=0)).max() < ROUNDING, n

    def test_counts_what_it_compared(self, bench):
        aggregate = bench(CoordinateMedian(), updates(4, 123))
        assert np.abs(aggregate([0, 1, 2, 3], [1, 1, 0, 9]) - np.median(updates(4, 123)[[0, 1, 3]], axis=0)).max() < ROUNDING
        assert list(aggregate.measured.values()) == [3]


class TestTrimmedMean:
    @pytest.mark.parametrize("fraction", ["0", "0.1", "0.2", "0.25", "0.29", "0.3", "0.45", "0.49"])
    def test_is_the_mean_without_the_extremes(self, fraction):
        rule = compiled(stacked.trimmed_mean(float(fraction)))
        for n in (1, 2, 3, 4, 5, 9, 10, 20, 100):
            cut = int(Fraction(fraction) * n)  # ⌊β n⌋ in exact arithmetic: 0.29 · 100 is 29, which it is not in floats
            expected = np.sort(updates(n), axis=0)[cut : n - cut].mean(0)
            assert np.abs(rule(updates(n)) - expected).max() < ROUNDING, n

    @pytest.mark.parametrize("n", [1, 10, 33])
    def test_has_the_bits_of_a_sort_of_all_columns_at_once(self, n):
        given, cut = updates(n, 2 * stacked.COLUMNS + 5), n // 10
        expected = tf.reduce_mean(tf.constant(np.sort(given, axis=0)[cut : n - cut]), 0)
        assert np.array_equal(applied(stacked.trimmed_mean(0.1), given), expected)

    def test_by_its_spec(self, bench):
        bank = updates(5, 123)
        expected = np.sort(bank, axis=0)[1:4].mean(0)
        assert np.abs(bench(TrimmedMean(trim_fraction=0.2), bank)(range(5)) - expected).max() < ROUNDING


def numpy_krum(vectors, f, m):
    """Blanchard et al. 2017, section 4: the score of i is the sum of |V_i − V_j|² over its n − f − 2 closest j ≠ i."""
    n = len(vectors)
    scores = []
    for i in range(n):
        distances = sorted(np.sum((vectors[i].astype(np.float64) - vectors[j]) ** 2) for j in range(n) if j != i)
        scores.append(sum(distances[: n - f - 2]))
    return vectors[np.argsort(scores)[:m]].mean(0)


def near(clients, size, gap, centre):
    """Updates whose distances are about `gap` times their norms."""
    return (centre * updates(1, size, seed=1) + centre * gap * updates(clients, size, seed=2)).astype(np.float32)


CLOSE = {
    "far apart": updates(40, 5000),
    "close to each other": near(40, 5000, 1e-5, 1.0),
    "one float apart": near(12, 300, 1e-7, 1.0),
    "all equal": np.repeat(updates(1, 300), 6, axis=0),
    "beside one far away": np.concatenate([np.full((1, 300), 1e15, np.float32), near(9, 300, 1e-3, 1.0)]),
    "beside a close group far away": np.concatenate([updates(7, 5000), near(4, 5000, 1e-6, 1e6)]),
    "beside zeros": np.concatenate([np.zeros((3, 300), np.float32), near(9, 300, 1e-6, 1.0)]),
}


class TestSquaredDistances:
    @pytest.mark.parametrize("given", CLOSE.values(), ids=CLOSE)
    def test_have_a_relative_error_of_at_most_1e_7_also_where_updates_are_close(self, given):
        """Half a rounding to float32 is 2⁻²⁴ = 6e-8; the error in float64 adds 2e-8 at most."""
        exact = np.sum((given[:, np.newaxis].astype(np.float64) - given) ** 2, axis=2)
        found = applied(stacked.squared_distances, given)
        assert np.all(np.abs(found - exact) <= 1e-7 * exact)
        assert np.array_equal(found, found.T)

    @pytest.mark.parametrize("f, m", [(1, 1), (3, 4)])
    @pytest.mark.parametrize("name", [name for name in CLOSE if name != "all equal"])
    def test_krum_selects_as_in_float64(self, name, f, m):
        given = CLOSE[name]
        result, expected = applied(stacked.krum(f, m), given), numpy_krum(given, f, m)
        assert np.array_equal(result, expected) if m == 1 else np.allclose(result, expected, rtol=1e-6, atol=0)

    def test_the_textbook_formula_in_float32_would_fail(self):
        """Shows that the cases above are hard: |a|² + |b|² − 2ab in float32 has no correct digit."""
        given = CLOSE["close to each other"]
        squares = np.sum(given**2, axis=1)
        naive = squares[:, np.newaxis] + squares - 2 * given @ given.T
        exact = np.sum((given[:, np.newaxis].astype(np.float64) - given) ** 2, axis=2)
        assert np.abs(naive - exact).max() > exact.max()


class TestKrum:
    @pytest.mark.parametrize("m", [1, 2, 3])
    @pytest.mark.parametrize("f, cohorts", [(0, (3, 4, 9)), (1, (5, 6)), (2, (7, 12)), (4, (11,))])
    def test_is_that_of_the_paper(self, f, cohorts, m):
        rule = compiled(stacked.krum(f, m))
        for n in cohorts:
            for seed in range(3):
                given = updates(n, seed=seed)
                assert np.abs(rule(given) - numpy_krum(given, f, m)).max() < ROUNDING, (n, seed)

    def test_by_its_spec(self, bench):
        bank = updates(7, 123)
        result = bench(Krum(num_byzantine=2, num_selected=2), bank)(range(7))
        assert np.abs(result - numpy_krum(bank, 2, 2)).max() < ROUNDING

    def test_tells_near_equal_updates_apart(self):
        """Distances of 1e-3 between vectors of length 1e3 would drown in |a|² + |b|² − 2ab."""
        given = np.full((5, 50), 141.0) + 1e-3 * updates(5) * np.array([1, 1, 1, 1, 30])[:, None]
        given = given.astype(np.float32)
        assert np.array_equal(applied(stacked.krum(1, 1), given), numpy_krum(given, 1, 1))

    @pytest.mark.parametrize(
        "rule", [stacked.krum(1, 1), stacked.krum(1, 3), stacked.coordinate_median, stacked.trimmed_mean(0.2)]
    )
    def test_an_outlier_moves_the_mean_and_not_what_is_robust(self, rule):
        good, rule = 0.1 * updates(5) + 1.0, compiled(rule)
        for outlier in (1e3, 1e15, -1e6):
            for at in (0, 2, 5):
                given = np.insert(good, at, outlier, axis=0)
                result = rule(given)
                assert np.all(result >= good.min(0)) and np.all(result <= good.max(0))
                assert np.abs(given.mean(0) - 1.0).min() > 100

    def test_two_that_collude_do_not_win(self):
        """They support each other, but with f = 2 a score needs the support of n − f − 2 = 3 others."""
        good = updates(5)
        given = np.concatenate([good, np.full((2, 50), 8.0)])
        assert np.array_equal(applied(stacked.krum(2, 1), given), numpy_krum(given, 2, 1))
        assert any(np.array_equal(applied(stacked.krum(2, 1), given), one) for one in good)

    @pytest.mark.parametrize("f, m, clients", [(0, 1, 3), (1, 1, 5), (2, 5, 7), (1, 4, 5), (0, 3, 3), (1, 3, 50)])
    def test_check_accepts(self, f, m, clients):
        Krum(num_byzantine=f, num_selected=m).check(clients)

    @pytest.mark.parametrize("f, clients", [(0, 2), (1, 4), (2, 6), (3, 1)])
    def test_check_refuses_too_few_clients(self, f, clients):
        """Blanchard et al. 2017, proposition 1: n ≥ 2f + 3."""
        with pytest.raises(ConfigError, match=f"num_byzantine={f} needs at least {2 * f + 3} clients.*at most {clients} report"):
            Krum(num_byzantine=f).check(clients)

    @pytest.mark.parametrize("f, m, clients", [(0, 4, 3), (1, 5, 5), (2, 6, 7)])
    def test_check_refuses_to_select_liars(self, f, m, clients):
        with pytest.raises(ConfigError, match=f"num_selected={m} must be at most {clients - f}"):
            Krum(num_byzantine=f, num_selected=m).check(clients)


# By Euclidean norm, which clipping looks at, and by largest element, which zeroing looks at
OF_NORMS = np.array([[0.5], [4.0]]) * updates(1, 123) / np.linalg.norm(updates(1, 123))
OF_NORMS = np.concatenate([OF_NORMS, np.array([[20.0], [25.0], [1e4]]) * updates(1, 123) / np.abs(updates(1, 123)).max()])


@pytest.fixture(scope="module")
def clips(bench):
    return bench(Robust(zeroing=False), OF_NORMS)


@pytest.fixture(scope="module")
def zeroes(bench):
    return bench(Robust(clipping=False), OF_NORMS)


@pytest.fixture(scope="module")
def both(bench):
    return bench(Robust(), OF_NORMS)


class TestRobust:
    BANK = OF_NORMS
    SMALL, FOUR, TWENTY, TWENTY_FIVE, HUGE = range(5)

    def norm(self, vector):
        return float(np.linalg.norm(vector))

    def test_clips_the_norm_at_first_to_1(self, clips):
        """And keeps the direction: one factor for all tensors."""
        assert np.abs(clips([self.FOUR] * 3) - self.BANK[self.FOUR] / 4).max() < ROUNDING
        assert self.norm(clips([self.HUGE])) == pytest.approx(1.0, rel=1e-5)
        mixed = clips([self.SMALL, self.FOUR], [3, 1])
        assert np.abs(mixed - (3 * self.BANK[self.SMALL] + self.BANK[self.FOUR] / 4) / 4).max() < ROUNDING

    def test_the_bound_follows_the_80_percent_quantile(self, clips):
        """Andrew et al. 2021, algorithm 1: C ← C · exp(−η (b − γ)), b the share below C; η = 0.2, γ = 0.8."""
        bound = 1.0
        clips([self.SMALL, self.FOUR, self.FOUR, self.FOUR])
        for below, rows in [(1 / 4, [self.FOUR] * 2), (0, [self.SMALL] * 3), (1, [self.FOUR] * 2)]:
            bound *= np.exp(-0.2 * (below - 0.8))
            result = clips(rows, state=clips.state)
            assert self.norm(result) == pytest.approx(min(bound, self.norm(self.BANK[rows[0]])), rel=1e-5)

    def test_zeroes_what_is_over_21_at_first(self, zeroes):
        """An element over 2 × 10 + 1. The client's weight still counts: that is how TFF defines it."""
        assert np.abs(zeroes([self.TWENTY] * 2) - self.BANK[self.TWENTY]).max() < 20 * ROUNDING
        assert np.abs(zeroes([self.FOUR, self.TWENTY_FIVE]) - self.BANK[self.FOUR] / 2).max() < 4 * ROUNDING
        assert np.array_equal(zeroes([self.HUGE]), np.zeros(123))

    def test_the_bound_of_zeroing_rises_fast(self, zeroes):
        """Half of the updates are below 10, so 10 · exp(−ln 10 · (0.5 − 0.98)) = 30.2, and twice that and 1 lets 25 pass."""
        zeroes([self.FOUR, self.TWENTY_FIVE])
        passed = zeroes([self.TWENTY_FIVE] * 2, state=zeroes.state)
        assert np.abs(passed - self.BANK[self.TWENTY_FIVE]).max() < 25 * ROUNDING

    def test_zeroing_comes_before_clipping(self, both):
        """Clipped first, no update would be large enough to be zeroed."""
        assert np.array_equal(both([self.HUGE]), np.zeros(123))
        assert np.abs(both([self.SMALL, self.HUGE]) - self.BANK[self.SMALL] / 2).max() < ROUNDING

    def test_counts_what_it_did(self, both):
        both([self.SMALL, self.FOUR, self.TWENTY, self.HUGE])
        counts = {name.split("/")[-1]: value for name, value in both.measured.items()}
        assert counts["zeroed_count"] == 1 and counts["clipped_count"] == 2


BITS, QUANTISED = 3, updates(2, 123)


@pytest.fixture(scope="module")
def compressed(bench):
    return bench(Compressed(quantization_bits=BITS, threshold=100, zeroing=False, clipping=False), QUANTISED)


class TestCompressed:
    def test_a_large_tensor_takes_no_more_values_than_its_bits_tell_apart(self, compressed):
        result = compressed([0])
        assert len(np.unique(result[:120])) == 2**BITS  # with 120 elements, each value occurs
        assert np.array_equal(result[120:], QUANTISED[0, 120:])

    def test_is_within_a_step_and_right_on_average(self, compressed):
        """Stochastic rounding is unbiased: its variance is at most step²/4, so the mean of n is within 5 · step / 2√n."""
        n = 400
        step = np.ptp(QUANTISED[0, :120]) / (2**BITS - 1)
        assert np.abs(compressed([0]) - QUANTISED[0]).max() <= step * (1 + 1e-6)
        gap = np.abs(compressed([0] * n) - QUANTISED[0]).max()
        assert 0 < gap < 5 * step / (2 * np.sqrt(n))

    def test_clients_round_with_their_own_numbers(self, compressed):
        one, other, both = compressed([0], keys=[1]), compressed([0], keys=[2]), compressed([0, 0], keys=[1, 2])
        assert not np.array_equal(one, other)
        assert np.abs(both - (one + other) / 2).max() < ROUNDING

    def test_a_tensor_of_threshold_elements_is_sent_as_it_is(self, bench):
        assert np.array_equal(bench(Compressed(threshold=120, zeroing=False, clipping=False), QUANTISED)([1]), QUANTISED[1])


@pytest.mark.parametrize(
    "make",
    [
        lambda: TrimmedMean(trim_fraction=0.5),
        lambda: TrimmedMean(trim_fraction=-0.1),
        lambda: Krum(num_byzantine=-1),
        lambda: Krum(num_selected=0),
        lambda: Compressed(quantization_bits=0),
        lambda: Compressed(quantization_bits=17),
        lambda: Compressed(threshold=0),
        lambda: Mean(weighted=True),
    ],
)
def test_options_out_of_range_are_refused(make):
    with pytest.raises(pydantic.ValidationError):
        make()
