"""How two models differ on the same examples: counts, tests and effect sizes (Herbold & Tunkel 2023, and paired tests beside).

Notation: n examples, K classes; a, b [n, K] the class probabilities that model a and model b give example i, y [n] its class.

What is independent are the examples; what is paired are the two models on one example. So every test sees one number per
example and model, never the n · K scores at once, which sum to one in each example. McNemar's test uses the pairs. Kolmogorov and
Smirnov's and χ² take two samples that are independent of one another; fed with pairs of models that agree more than strangers
would, as two that learnt the same task do, they reject too seldom: they keep their level and lose some power. What the classroom
original computes is here under `original_…`.
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
    """The original's Δ_score = #{(i, k) : a_ik ≠ b_ik}: every float that is not the same to the last bit, out of n · K."""
    return int((a != b).sum())


def kolmogorov_smirnov(a: np.ndarray, b: np.ndarray, tolerance: float = 0.0) -> tuple[float, float]:
    """(D, P_KS): D = sup_t |F_a(t) − F_b(t)| of two samples [n] each, and the chance of such a D where both come from one law.

    The samples are the probabilities of the true class, one per example. A pair that differs by no more than `tolerance`
    counts as equal: ranks would make as much of 1 and 0.9999999 as of 1 and 0.
    """
    b = np.where(np.abs(a.astype(np.float64) - b) <= tolerance, a, b)
    return _two_samples(a, b)


def original_p_ks(a: np.ndarray, b: np.ndarray) -> float:
    """The original's P_KS: the same test on all n · K scores of a against all of b, as if they were independent."""
    return _two_samples(a.ravel(), b.ravel())[1]


def _two_samples(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """(D, P), exact for up to 10,000 values each."""
    with warnings.catch_warnings():  # scipy warns where rounding makes an exact p a little more than 1
        warnings.simplefilter("ignore", RuntimeWarning)
        result = stats.ks_2samp(a, b)
    return float(result.statistic), min(1.0, float(result.pvalue))


def class_counts(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """int64 [2, K]: how often each model predicts each class."""
    return np.stack([np.bincount(scores.argmax(1), minlength=scores.shape[1]) for scores in (a, b)])


def chi_squared(counts: np.ndarray) -> tuple[float, float]:
    """(V, P_χ²) of counts [2, K] of predicted classes, each cell plus one, classes that neither model predicts left out.

    χ² = Σ (observed − expected)² / expected on K − 1 degrees of freedom; Cramér's V = √(χ² / N), which for two rows is
    Cohen's w, with N the sum over the table.
    """
    table = counts[:, counts.any(0)] + 1
    statistic, p, _, _ = stats.chi2_contingency(table, correction=False)
    return float(np.sqrt(statistic / table.sum())), float(p)


def original_p_chi2(counts: np.ndarray) -> float:
    """The original's P_χ²: the same with every class of the data, predicted or not, as scipy computes it by default."""
    return float(stats.chi2_contingency(counts + 1)[1])


def class_distance(counts: np.ndarray) -> float:
    """½ Σ_k |s_ak − s_bk| of the shares of predicted classes: total variation, in [0, 1]."""
    return float(0.5 * np.abs(counts[0] - counts[1]).sum() / counts[0].sum())


def mcnemar(lost: int, gained: int) -> float:
    """McNemar's test on pairs: of the examples that one model alone gets right, a alone `lost` and b alone `gained`.

    Exact and two-sided: 2 · P(X ≤ min(lost, gained)) with X ~ Binomial(lost + gained, ½), at most 1.
    """
    return min(1.0, 2 * float(stats.binom.cdf(min(lost, gained), lost + gained, 0.5)))


def accuracy_interval(
    lost: int, gained: int, examples: int, alpha: float, samples: int, rng: np.random.Generator
) -> tuple[float, float]:
    """Bootstrap percentile interval at 1 − `alpha` for the accuracy of b minus that of a, pairs resampled.

    A resample is a draw of (gained, lost, alike) from a multinomial. Each of the four cells of the 2 × 2 table first gets half
    an example (Agresti & Min 2005), without which a few examples that agree by chance would give an interval of no width.
    """
    alike = examples - lost - gained
    cells = np.array([gained + 0.5, lost + 0.5, alike + 1.0])
    draws = rng.multinomial(examples + 2, cells / cells.sum(), samples)
    low, high = np.quantile((draws[:, 0] - draws[:, 1]) / (examples + 2), [alpha / 2, 1 - alpha / 2])
    return float(low), float(high)


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's (1979) adjusted p-values of `p`, any shape: to reject those ≤ α errs anywhere with a chance of at most α.

    The i-th smallest of m becomes max_{j ≤ i} (m − j + 1) p_(j), at most 1. Asks nothing of how the tests depend on each other.
    """
    flat = np.asarray(p, np.float64).ravel()
    order = np.argsort(flat, kind="stable")
    adjusted = np.minimum(1.0, np.maximum.accumulate(flat[order] * np.arange(len(flat), 0, -1)))
    result = np.empty_like(flat)
    result[order] = adjusted
    return result.reshape(np.shape(p))
