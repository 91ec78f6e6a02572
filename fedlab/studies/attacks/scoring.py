"""Scores the leakage of a class by an image, on a scale from an image of noise to a real image."""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf

from fedlab.randomness import generator
from fedlab.studies.attacks.inversion import Model
from fedlab.studies.attacks.judge import model_input
from fedlab.types import ExampleSet

NEAREST_OF = 1_000  # training images of a class that are searched for the nearest one
_PER_CLASS = 5  # test images, and images of noise, per class for the mean of a baseline
_WINDOW = 11  # side of the SSIM window in pixels


@dataclasses.dataclass(frozen=True)
class Measures:
    """One number per image, float64 [n], or their means.

    `confidence` [0, 1]: the probability of the class under the evaluation model. `ssim` [−1, 1]: structural similarity (Wang et
    al. 2004) with the nearest training image of the class, the one of 1,000 with the largest correlation. `correlation` [−1, 1]:
    Pearson correlation, over pixels, with the mean training image of the class.
    """

    confidence: np.ndarray
    ssim: np.ndarray
    correlation: np.ndarray

    def mean(self) -> Measures:
        return Measures(*(np.mean(v) for v in (self.confidence, self.ssim, self.correlation)))

    def described(self) -> dict[str, float]:
        """Returns the means, rounded to 4 decimals."""
        return {name: round(float(np.mean(value)), 4) for name, value in dataclasses.asdict(self).items()}


class Scorer:
    """Measures images of known classes. `evaluation` shares no training example with the attacked model."""

    def __init__(self, evaluation: Model, train: ExampleSet, test: ExampleSet, seed: int):
        self.low, self.high = pixel_range(train)
        self._evaluation = evaluation
        self.classes = np.intersect1d(train.y, test.y)  # classes with images in both sets
        rng = generator(seed, "attack scoring")
        self._near = {c: self._scaled(_drawn(train, c, NEAREST_OF, rng)) for c in self.classes}
        self._means = {c: self._scaled(train.x[train.y == c]).mean(0, keepdims=True) for c in self.classes}
        shape = train.x.shape[1:]
        window = min(_WINDOW, *shape[:2])
        image = tf.TensorSpec([None, *shape], tf.float32)
        self._ssim = tf.function(
            lambda a, b: tf.image.ssim(a, b, 1.0, filter_size=window), autograph=False, input_signature=[image, image]
        )
        classes = np.repeat(self.classes, _PER_CLASS)
        noise = rng.uniform(self.low, self.high, (len(classes), *shape)).astype(np.float32)
        real = [model_input(_drawn(test, c, _PER_CLASS, rng)) for c in self.classes]
        self.noise = self.measure(noise, classes).mean()
        self.real = self.measure(np.concatenate(real), np.repeat(self.classes, [len(r) for r in real])).mean()
        self.class_mean = self.measure(self.low + self.class_means * (self.high - self.low), self.classes).mean()

    @property
    def class_means(self) -> np.ndarray:
        """Returns the mean training image of each class, in [0, 1]: float32 [classes, height, width, channels]."""
        return np.concatenate([self._means[c] for c in self.classes])

    def measure(self, images: np.ndarray, classes: np.ndarray) -> Measures:
        """Measures `images` float32 [n, height, width, channels] in the range of a pixel, of `classes` int [n]."""
        probabilities = tf.nn.softmax(self._evaluation(tf.constant(images))).numpy()
        scaled = (images - self.low) / (self.high - self.low)
        nearest = np.stack([_nearest(image, self._near[c]) for image, c in zip(scaled, classes)])
        correlation = [_correlations(image, self._means[c])[0] for image, c in zip(scaled, classes)]
        confidence = probabilities[np.arange(len(classes)), classes].astype(np.float64)
        ssim = self._ssim(tf.constant(scaled, tf.float32), tf.constant(nearest)).numpy().astype(np.float64)
        return Measures(confidence, ssim, np.array(correlation))

    def score(self, measures: Measures) -> np.ndarray:
        """Returns the mean of the three measures, each scaled from 0, the average of noise, to 1, the average of test images."""
        scales = []
        for name in ("confidence", "ssim", "correlation"):
            found, noise, real = (getattr(m, name) for m in (measures, self.noise, self.real))
            scales.append((found - noise) / max(real - noise, 1e-6))
        return np.mean(scales, axis=0)

    def _scaled(self, x: np.ndarray) -> np.ndarray:
        """Scales raw examples to [0, 1]."""
        return (model_input(x) - self.low) / (self.high - self.low)


def pixel_range(examples: ExampleSet) -> tuple[float, float]:
    """Returns the range of a pixel as model input: 0 to 1 for uint8 images, the observed range for float images."""
    if examples.x.dtype == np.uint8:
        return 0.0, 1.0
    return float(examples.x.min()), float(examples.x.max())


def _drawn(examples: ExampleSet, label: int, most: int, rng: np.random.Generator) -> np.ndarray:
    """Draws at most `most` raw examples of a class."""
    there = np.flatnonzero(examples.y == label)
    return examples.x[rng.permutation(there)[:most]]


def _nearest(image: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Returns the one of `others` that correlates most with `image`."""
    return others[np.argmax(_correlations(image, others))]


def _correlations(image: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Returns the Pearson correlations with `others` [n, …], float64 [n]; 0 for an image of one flat colour."""
    a, b = image.reshape(-1).astype(np.float64), others.reshape(len(others), -1)
    a, b = a - a.mean(), b - b.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(a) * np.linalg.norm(b, axis=1)
    return np.divide(b @ a, norms, out=np.zeros(len(b)), where=norms > 1e-9)
