"""Every figure against scipy or paper, and what the tests promise about chance."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from fedlab.studies.difftest import statistics


def probabilities(rng, n, classes=4):
    return rng.dirichlet(np.ones(classes), n).astype(np.float32)


def test_deltas_count_examples_and_the_original_counts_floats():
    a = np.array([[0.6, 0.4], [0.2, 0.8], [0.5, 0.5]], np.float32)
    b = np.array([[0.6, 0.4], [0.7, 0.3], [0.5001, 0.4999]], np.float32)
    assert statistics.delta_class(a, b) == 1
    assert statistics.delta_score(a, b, 1e-3) == (1, pytest.approx(0.5))
    assert statistics.delta_score(a, b, 0.0)[0] == 2
    assert statistics.original_delta_score(a, b) == 4


def test_ks_is_scipys_on_the_scores_of_the_true_class_and_the_original_pools_all():
    rng = np.random.default_rng(0)
    a, b = rng.random(50), rng.random(50) ** 2
    known = stats.ks_2samp(a, b)
    assert statistics.kolmogorov_smirnov(a, b) == (known.statistic, known.pvalue)
    scores = probabilities(rng, 40), probabilities(rng, 40) ** 2
    assert statistics.original_p_ks(*scores) == stats.ks_2samp(scores[0].ravel(), scores[1].ravel()).pvalue


def test_ks_makes_nothing_of_pairs_that_agree_within_the_tolerance():
    a = np.ones(100, np.float32)
    assert statistics.kolmogorov_smirnov(a, a - 6e-8)[0] == 1.0  # ranks know no size
    assert statistics.kolmogorov_smirnov(a, a - 6e-8, 1e-6) == (0.0, 1.0)


def test_chi_squared_by_hand():
    counts = np.array([[9, 0, 29], [19, 0, 19]])  # with one more in each cell: [10, 30], [20, 20]; nobody predicts class 1
    chi2 = 2 * (5**2 / 15) + 2 * (5**2 / 25)
    v, p = statistics.chi_squared(counts)
    assert v == pytest.approx(np.sqrt(chi2 / 80))
    assert p == pytest.approx(stats.chi2.sf(chi2, 1))
    assert statistics.class_distance(counts) == pytest.approx(10 / 38)
    assert statistics.chi_squared(np.array([[7, 0], [7, 0]])) == (0.0, 1.0)  # all of one class


def test_the_original_chi_squared_tests_independence_on_the_joint_table():
    a, b = np.eye(2)[np.repeat([0, 0, 1, 1], [7, 1, 2, 4])], np.eye(2)[np.repeat([0, 1, 0, 1], [7, 1, 2, 4])]
    cells = ((8, 55 / 9), (2, 35 / 9), (3, 44 / 9), (5, 28 / 9))  # one more than counted, and expected
    chi2 = sum((abs(o - e) - 0.5) ** 2 / e for o, e in cells)  # Yates's correction, scipy's default for 2 × 2
    assert statistics.original_p_chi2(a, b) == pytest.approx(stats.chi2.sf(chi2, 1))


def test_the_original_chi_squared_is_small_for_equal_models_and_large_for_unrelated_ones():
    rng = np.random.default_rng(4)
    a, b = probabilities(rng, 2000, 10), probabilities(rng, 2000, 10)
    p = statistics.chi_squared(statistics.class_counts(a, a))[1], statistics.original_p_chi2(a, a)
    assert p[0] == 1 and p[1] < 1e-300
    table = np.zeros((10, 10), int)
    np.add.at(table, (a.argmax(1), b.argmax(1)), 1)
    assert statistics.original_p_chi2(a, b) == stats.chi2_contingency(table + 1)[1] > 1e-6


@pytest.mark.parametrize(
    ("lost", "gained", "p"), [(0, 0, 1.0), (5, 5, 1.0), (0, 6, 2 / 64), (1, 9, 2 * 11 / 1024), (9, 1, 2 * 11 / 1024)]
)
def test_mcnemar_by_hand(lost, gained, p):
    assert statistics.mcnemar(lost, gained) == pytest.approx(p)


def test_mcnemar_is_the_two_sided_binomial_test():
    assert statistics.mcnemar(31, 54) == pytest.approx(stats.binomtest(31, 85).pvalue)


def test_holm_by_hand():
    # Holm 1979: 4 · 0.005, 3 · 0.01, 2 · 0.03, and never smaller than what came before
    assert statistics.holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm(np.array([[0.5], [0.9]])).tolist() == [[1.0], [1.0]]


def test_holm_errs_anywhere_as_seldom_as_promised():
    rng = np.random.default_rng(1)
    wrong = np.mean([statistics.holm(rng.random(12)).min() <= 0.05 for _ in range(2000)])
    assert wrong == pytest.approx(0.05, abs=0.015)


@pytest.mark.parametrize(("n", "lose", "gain"), [(40, 0.0, 0.0), (60, 0.05, 0.1), (144, 0.02, 0.02), (600, 0.03, 0.05)])
def test_the_interval_covers_the_difference_as_often_as_it_says(n, lose, gain):
    rng = np.random.default_rng(2)
    counts = rng.multinomial(n, [lose, gain, 1 - lose - gain], 300)
    intervals = [statistics.accuracy_interval(lost, gained, n, 0.05, 500, rng) for lost, gained, _ in counts]
    covered = np.mean([low <= gain - lose <= high for low, high in intervals])
    assert covered >= 0.93  # of 300, at 95 %


def test_the_interval_is_wider_for_fewer_examples_and_never_without_width():
    widths = []
    for n in (5, 50, 5000):
        low, high = statistics.accuracy_interval(0, 0, n, 0.05, 500, np.random.default_rng(0))
        assert low < 0 < high
        widths.append(high - low)
    assert widths == sorted(widths, reverse=True)


def test_pairs_make_ks_and_chi_squared_reject_too_seldom_and_never_too_often():
    rng = np.random.default_rng(3)
    rejected = np.zeros(2)
    for _ in range(400):  # two models of one kind: each sees the example, and its own noise
        examples = rng.normal(size=(100, 3))
        a, b = (examples + rng.normal(scale=0.7, size=examples.shape) for _ in range(2))
        rejected += [
            statistics.kolmogorov_smirnov(a[:, 0], b[:, 0])[1] <= 0.05,
            statistics.chi_squared(statistics.class_counts(a, b))[1] <= 0.05,
        ]
    assert (rejected / 400 <= 0.05).all()
