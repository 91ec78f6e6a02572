"""Measures of generated images, on sets of which the answer is known, and polarity on real digits."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fedlab.data import Digits, Mnist
from fedlab.errors import DataError
from fedlab.evaluation.gan import classifier_score, frechet_distance
from fedlab.evaluation.polarity import has_light_background, polarity


def gaussian(mean, root, n, seed):
    """n draws whose sample mean and covariance are exactly `mean` and root rootᵀ."""
    x = np.random.default_rng(seed).normal(size=(n, len(mean)))
    x -= x.mean(0)
    x = x @ np.linalg.inv(np.linalg.cholesky(np.cov(x, rowvar=False))).T
    return x @ np.asarray(root).T + mean


class TestFrechetDistance:
    def test_of_equal_sets_is_zero(self):
        x = np.random.default_rng(0).normal(size=(500, 12)) @ np.random.default_rng(1).normal(size=(12, 12))
        assert frechet_distance(x, x) == pytest.approx(0, abs=1e-6)
        assert frechet_distance(x, x[::-1]) == pytest.approx(0, abs=1e-6)

    def test_of_two_gaussians_is_the_closed_form(self):
        """For diagonal covariances: |μ₁ − μ₂|² + Σ (σ₁ − σ₂)²."""
        first, second = np.array([1.0, 2.0, 0.5]), np.array([3.0, 2.0, 0.1])
        a = gaussian(np.array([0.0, 1.0, -1.0]), np.diag(first), 400, 0)
        b = gaussian(np.array([2.0, 1.0, 0.0]), np.diag(second), 300, 1)
        expected = 5 + np.square(first - second).sum()
        assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-6)
        assert frechet_distance(b, a) == pytest.approx(expected, rel=1e-6)

    def test_of_covariances_that_do_not_commute(self):
        """Against the trace of (√A B √A)^½, by eigenvalues."""
        rng = np.random.default_rng(3)
        first, second = (np.tril(rng.normal(size=(4, 4))) + 2 * np.eye(4) for _ in range(2))
        a, b = (gaussian(np.zeros(4), root, 300, seed) for root, seed in ((first, 0), (second, 1)))
        values, vectors = np.linalg.eigh(first @ first.T)
        root = vectors * np.sqrt(values) @ vectors.T
        middle = root @ second @ second.T @ root
        expected = np.trace(first @ first.T + second @ second.T) - 2 * np.sqrt(np.linalg.eigvalsh(middle)).sum()
        assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-6)

    def test_where_a_feature_is_always_zero(self):
        x = np.random.default_rng(0).normal(size=(200, 5))
        x[:, 2] = 0
        assert frechet_distance(x, x) == pytest.approx(0, abs=1e-3)
        assert frechet_distance(x, x + np.eye(5)[0]) == pytest.approx(1, abs=1e-3)

    def test_of_what_is_no_number_is_none(self):
        x = np.ones((10, 2))
        assert np.isnan(frechet_distance(x, np.full((10, 2), np.nan)))


class TestClassifierScore:
    def test_is_one_for_images_that_are_all_alike_and_the_number_of_classes_for_clear_ones_of_each(self):
        assert classifier_score(np.tile([3.0, -1.0, 0.5], (50, 1))) == pytest.approx(1)
        assert classifier_score(1e3 * np.tile(np.eye(7), (20, 1))) == pytest.approx(7)

    def test_by_hand(self):
        shares = np.array([[0.9, 0.1], [0.2, 0.8]])
        marginal = shares.mean(0)
        expected = np.exp(np.mean([(p * np.log(p / marginal)).sum() for p in shares]))
        assert classifier_score(np.log(shares) + np.array([[5], [-300]])) == pytest.approx(expected)


def error_on(images):
    """The error rates of the test on real images that are light on dark: unchanged, and inverted."""
    return polarity(images), 1.0 - polarity((255 if images.dtype == np.uint8 else 1.0) - images)


class TestPolarity:
    def test_of_real_digits_is_never_wrong(self):
        images = Digits().load(0).train.x
        assert error_on(images) == (0.0, 0.0)
        assert error_on(images.astype(np.float32) / 255) == (0.0, 0.0)

    @pytest.mark.parametrize("part", [pytest.param("train", marks=pytest.mark.slow), "test"])
    def test_of_mnist_is_never_wrong(self, part):
        try:
            data = Mnist().load(0)
        except DataError as error:
            pytest.skip(f"no MNIST: {error}")
        assert error_on(getattr(data, part).x) == (0.0, 0.0)

    def test_counts_light_backgrounds(self):
        images = Digits().load(0).test.x[:8].copy()
        images[:3] = 255 - images[:3]
        assert has_light_background(images).tolist() == [True] * 3 + [False] * 5
        assert polarity(images) == 3 / 8
        assert json.dumps(polarity(images)) == "0.375"

    def test_bears_noise(self):
        rng = np.random.default_rng(0)
        images = np.clip(Digits().load(0).test.x[:50] + rng.normal(0, 60, (50, 28, 28, 1)), 0, 255).astype(np.uint8)
        assert error_on(images) == (0.0, 0.0)
