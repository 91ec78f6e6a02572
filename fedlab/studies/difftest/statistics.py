"""Differences of two models on the same examples: counts, tests and effect sizes (Herbold & Tunkel 2023, and paired tests).

Notation: n examples, K classes; a, b [n, K] the class probabilities of model a and model b for example i, y [n] its class.

The examples are independent. The outputs of the two models for one example are paired. Every test uses one number per example
and model, because the K scores of an example sum to one and are not independent. McNemar's test uses the pairs. The
Kolmogorov-Smirnov test and the χ² test treat paired samples as independent. Two models that learnt the same task agree more than
independent samples, so these two tests reject less often than their level allows: they are valid, with less power. The functions
`original_…` compute the values of the classroom original; those do not test whether two models differ.
"""

from __future__ import annotations

import warnings

import numpy as np
from scipy import stats


def delta_class(a: np.ndarray, b: np.ndarray) -> int:
    """Δ_class = #{i : argmax_k a_ik ≠ argmax_k b_ik}: examples whose predicted class differs."""
    return int((a.argmax(1) != b.argmax(1)).sum())


def delta_score(a: np.ndarray, b: np.ndarray, tolerance: float) -> tuple[int, float]:
    """Δ_score = #{i : d_i > tolerance} with d_i = max_k |a_ik − b_ik|, and max_i d_i (0 without examples)."""
    largest = np.abs(a.astype(np.float64) - b).max(1)
    return int((largest > tolerance).sum()), float(largest.max(initial=0.0))


def original_delta_score(a: np.ndarray, b: np.ndarray) -> int:
    """The original's Δ_score = #{(i, k) : a_ik ≠ b_ik}: the number of the n · K floats that differ in any bit."""
    return int((a != b).sum())


def kolmogorov_smirnov(a: np.ndarray, b: np.ndarray, tolerance: float = 0.0) -> tuple[float, float]:
    """Returns (D, P_KS): D = sup_t |F_a(t) − F_b(t)| of two samples [n] each, and its p-value if both have one distribution.

    The samples are the probabilities of the true class, one per example. A pair that differs by at most `tolerance` counts as
    equal, because the test uses ranks only: without a tolerance, 1 and 0.9999999 would differ as much as 1 and 0.
    """
    b = np.where(np.abs(a.astype(np.float64) - b) <= tolerance, a, b)
    return _two_samples(a, b)


def original_p_ks(a: np.ndarray, b: np.ndarray) -> float:
    """The original's P_KS: the same test on all n · K scores of a against all of b, as if they were independent."""
    return _two_samples(a.ravel(), b.ravel())[1]


def _two_samples(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Returns (D, P), exact for up to 10,000 values each."""
    with warnings.catch_warnings():  # scipy warns if rounding makes an exact p slightly larger than 1
        warnings.simplefilter("ignore", RuntimeWarning)
        result = stats.ks_2samp(a, b)
    return float(result.statistic), min(1.0, float(result.pvalue))


def class_counts(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Counts the predictions of each class by each model: int64 [2, K]."""
    return np.stack([np.bincount(scores.argmax(1), minlength=scores.shape[1]) for scores in (a, b)])


def chi_squared(counts: np.ndarray) -> tuple[float, float]:
    """Returns (V, P_χ²) of counts [2, K] of predicted classes, each cell plus one, without classes that no model predicts.

    χ² = Σ (observed − expected)² / expected on K − 1 degrees of freedom; Cramér's V = √(χ² / N), for two rows equal to
    Cohen's w, with N the sum over the table.
    """
    table = counts[:, counts.any(0)] + 1
    statistic, p, _, _ = stats.chi2_contingency(table, correction=False)
    return float(np.sqrt(statistic / table.sum())), float(p)


def original_p_chi2(a: np.ndarray, b: np.ndarray) -> float:
    """The original's P_χ²: the p-value of independence of the two models' predictions, [0, 1].

    The test uses the joint K × K table, in which cell (k, l) counts the examples that a assigns to class k and b to class l,
    plus one in every cell. p is near 0 if the models agree, and anywhere in [0, 1] if their predictions are independent.
    Therefore a small p does not indicate a difference; in `chi_squared` it does.
    """
    classes = a.shape[1]
    joint = np.bincount(a.argmax(1) * classes + b.argmax(1), minlength=classes**2).reshape(classes, classes)
    return float(stats.chi2_contingency(joint + 1)[1])


def class_distance(counts: np.ndarray) -> float:
    """½ Σ_k |s_ak − s_bk| of the shares of predicted classes: total variation, in [0, 1]."""
    return float(0.5 * np.abs(counts[0] - counts[1]).sum() / counts[0].sum())


def mcnemar(lost: int, gained: int) -> float:
    """McNemar's test on pairs: only a classifies `lost` examples correctly, only b classifies `gained` correctly.

    Exact and two-sided: 2 · P(X ≤ min(lost, gained)) with X ~ Binomial(lost + gained, ½), at most 1.
    """
    return min(1.0, 2 * float(stats.binom.cdf(min(lost, gained), lost + gained, 0.5)))


def accuracy_interval(
    lost: int, gained: int, examples: int, alpha: float, samples: int, rng: np.random.Generator
) -> tuple[float, float]:
    """Bootstrap percentile interval at 1 − `alpha` for the accuracy of b minus that of a, with resampled pairs.

    A resample draws (gained, lost, alike) from a multinomial. Before, half an example is added to each of the four cells of the
    2 × 2 table (Agresti & Min 2005). Otherwise, a few examples on which the models agree by chance give an interval of width 0.
    """
    alike = examples - lost - gained
    cells = np.array([gained + 0.5, lost + 0.5, alike + 1.0])
    draws = rng.multinomial(examples + 2, cells / cells.sum(), samples)
    low, high = np.quantile((draws[:, 0] - draws[:, 1]) / (examples + 2), [alpha / 2, 1 - alpha / 2])
    return float(low), float(high)


def holm(p: np.ndarray) -> np.ndarray:
    """Returns Holm's (1979) adjusted p-values of `p`, any shape.

    If all tests with an adjusted p ≤ α are rejected, the probability of one or more false rejections is at most α.

    The i-th smallest of m becomes max_{j ≤ i} (m − j + 1) p_(j), at most 1. The tests may depend on each other.
    """
    flat = np.asarray(p, np.float64).ravel()
    order = np.argsort(flat, kind="stable")
    adjusted = np.minimum(1.0, np.maximum.accumulate(flat[order] * np.arange(len(flat), 0, -1)))
    result = np.empty_like(flat)
    result[order] = adjusted
    return result.reshape(np.shape(p))
