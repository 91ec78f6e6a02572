"""The privacy loss of a Gaussian sum over a cohort of fixed size, sampled without replacement; neighbours replace one user.

Let γ = cohort / population, P and Q two Gaussians at a distance of one sensitivity, and H_α(A ‖ B) = ∫ max(A − α B, 0), the
hockey-stick divergence, so that δ(ε) = H_{e^ε}. The sampled mechanism M has H_α(M(D) ‖ M(D′)) ≤ h(α) for all neighbours D, D′:

    h(α) = H_α((1 − γ) Q + γ P ‖ Q) for α ≥ 1,    h(α) = H_α(Q ‖ (1 − γ) Q + γ P) for α < 1.

For α ≥ 1 this is the theorem of Balle, Barthe and Gaboardi 2018 on sampling without replacement under substitution. For α < 1 it
follows from H_α(A ‖ B) = 1 − α + α H_{1/α}(B ‖ A), because the relation is symmetric. h decreases and is convex, also at α = 1,
and h(0) = 1, so h is the profile of a pair of distributions. This pair dominates M for every D, D′, so its k-fold product
dominates k adaptive rounds (Zhu, Dong and Wang 2022). Neither part of h alone does so (Lebeda, Regehr, Kamath and Steinke 2024).
docs/privacy.md has the argument.
"""

from __future__ import annotations

import functools
import math

import numpy as np
from dp_accounting.pld import pld_pmf, privacy_loss_mechanism
from dp_accounting.pld import privacy_loss_distribution as pld

_Adjacency = privacy_loss_mechanism.AdjacencyType


@functools.lru_cache(maxsize=8)
def replaced(noise_multiplier: float, rate: float, grid: float) -> pld.PrivacyLossDistribution:
    """Returns the PLD of one round, an upper bound. `noise_multiplier`: noise over sensitivity; `rate`: γ in (0, 1]; `grid`: of
    losses.

    Connects the dots of h (Doroshenko et al. 2022): the profile at multiples of `grid`, joined by lines above it.
    """
    mixed_above, mixed_below = (
        privacy_loss_mechanism.GaussianPrivacyLoss(noise_multiplier, sampling_prob=rate, adjacency_type=adjacency)
        for adjacency in (_Adjacency.REMOVE, _Adjacency.ADD)  # H(mixture ‖ Q) and H(Q ‖ mixture)
    )
    highest, lowest = mixed_above.connect_dots_bounds().epsilon_upper, mixed_below.connect_dots_bounds().epsilon_lower
    assert highest is not None and lowest is not None, "a continuous loss has both bounds"
    first, last = min(math.floor(lowest / grid), 0), max(math.ceil(highest / grid), 0)
    below = np.asarray(mixed_below.get_delta_for_epsilon(np.arange(first, 0) * grid))
    above = np.asarray(mixed_above.get_delta_for_epsilon(np.arange(0, last + 1) * grid))
    profile = np.clip(np.concatenate([below, above]), 0.0, 1.0)
    profile = np.maximum.accumulate(profile[::-1])[::-1]  # removes increases from rounding, by raising values only
    return pld.PrivacyLossDistribution(pld_pmf.create_pmf_pessimistic_connect_dots_fixed_gap(grid, first, last, profile))
