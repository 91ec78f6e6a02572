"""Metrics of generated images: scores of the discriminator and of an independent classifier, compared with real images."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from scipy import linalg

from fedlab.errors import ConfigError, one_line
from fedlab.evaluation.polarity import polarity
from fedlab.models.adversarial import GanModel, as_images
from fedlab.models.saved import load_keras


class ImageClassifier:
    """A Keras classifier that returns its logits and the outputs of the layer before them."""

    def __init__(self, path: pathlib.Path, input_shape: tuple[int, ...]):
        """Loads the file. Raises `ConfigError` if it is no classifier of images of `input_shape`."""
        model = load_keras(path)
        try:
            self._parts = tf.keras.Model(model.inputs, [model.layers[-1].output, model.layers[-2].output])
        except Exception as error:
            raise ConfigError(f"evaluation.classifier={path} has no layer before its last: {one_line(error)}") from error
        if tuple(model.input_shape[1:]) != tuple(input_shape):
            raise ConfigError(
                f"evaluation.classifier={path} takes images of {list(model.input_shape[1:])}, the data has {list(input_shape)}."
            )

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns logits [n, classes] and features [n, d] of uint8 images, or of floats in [0, 1]."""
        scaled = images.astype(np.float32) / 255 if images.dtype == np.uint8 else images
        logits, features = self._parts(scaled, training=False)
        return logits.numpy(), features.numpy().reshape(len(images), -1)


class GanEvaluator:
    """Compares the images that a generator makes from fixed noise with fixed real images."""

    def __init__(self, model: GanModel, real: np.ndarray, noise: np.ndarray, classifier: ImageClassifier | None):
        """`real` [n, ...] as the data has them; `noise` float32 [n, noise_dimension]."""
        self._real, self._noise, self._classifier = real, tf.constant(noise), classifier
        self._real_parts = classifier(real) if classifier else None
        discriminator, generator = ([tf.TensorSpec(np.shape(w), tf.float32) for w in ws] for ws in model.initial_weights)
        noises = tf.TensorSpec([None, model.noise_dimension], tf.float32)

        def generate(weights: list, noise: tf.Tensor) -> tf.Tensor:
            return model.generate(weights, noise)

        def score(weights: list, images: tf.Tensor) -> tf.Tensor:
            return tf.reduce_mean(model.score(weights, images))

        images = tf.TensorSpec([None, *real.shape[1:]], tf.float32)
        self._generate = tf.function(generate, autograph=False, input_signature=[generator, noises])
        self._score = tf.function(score, autograph=False, input_signature=[discriminator, images])

    def images(self, generator: Sequence[tf.Tensor]) -> np.ndarray:
        """Returns the generated images: uint8 [n, ...], or floats in [-1, 1] if the data are floats."""
        return self._like_real(self._generate(list(generator), self._noise).numpy())

    def scores(self, discriminator: Sequence[tf.Tensor], generator: Sequence[tf.Tensor], images: np.ndarray) -> dict[str, float]:
        """Returns the metrics of both networks. `images`: those of the generator."""
        scores = [
            float(self._score(list(discriminator), as_images(tf.convert_to_tensor(batch)))) for batch in (self._real, images)
        ]
        found = {
            "real_score": scores[0],
            "generated_score": scores[1],
            "polarity": polarity(_unit(images)),
            "generator_norm": float(tf.linalg.global_norm(list(generator))),
            "discriminator_norm": float(tf.linalg.global_norm(list(discriminator))),
        }
        if self._classifier and self._real_parts:
            logits, features = self._classifier(_unit(images))
            found["classifier_score"] = classifier_score(logits)
            found["frechet_logits"] = frechet_distance(self._real_parts[0], logits)
            found["frechet_features"] = frechet_distance(self._real_parts[1], features)
        return found

    def of_real(self) -> dict[str, float]:
        """Returns the metrics of the real images: their polarity, and the classifier score to compare with."""
        found = {"real_polarity": polarity(_unit(self._real))}
        if self._real_parts:
            found["real_classifier_score"] = classifier_score(self._real_parts[0])
        return found

    def _like_real(self, images: np.ndarray) -> np.ndarray:
        return np.rint((images + 1) * 127.5).astype(np.uint8) if self._real.dtype == np.uint8 else images


def _unit(images: np.ndarray) -> np.ndarray:
    """Converts floats in [-1, 1] to floats in [0, 1]; leaves uint8 unchanged."""
    return images if images.dtype == np.uint8 else (images + 1) / 2


def classifier_score(logits: np.ndarray) -> float:
    """Returns exp of the mean KL divergence of each image's class distribution from that of all images (Salimans et al. 2016).

    The score is between 1 and the number of classes.
    """
    logs = logits.astype(np.float64) - logits.max(1, keepdims=True)
    logs -= np.log(np.exp(logs).sum(1, keepdims=True))
    shares = np.exp(logs)
    marginal = np.maximum(shares.mean(0), np.finfo(np.float64).tiny)
    return float(np.exp((shares * (logs - np.log(marginal))).sum(1).mean()))


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Returns the Fréchet distance of two Gaussians with the means and covariances of a [n, d] and b [m, d] (Heusel et al. 2017).

    NaN if a or b has a value that is not finite.
    """
    a, b = a.astype(np.float64), b.astype(np.float64)
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return float("nan")
    first, second = (np.atleast_2d(np.cov(x, rowvar=False)) for x in (a, b))
    # A tiny imaginary part is a rounding error: the product's eigenvalues are real and not negative
    root = np.real(linalg.sqrtm(first @ second, disp=False)[0])
    if not np.isfinite(root).all():  # singular, for example if a feature is 0 for every image
        ridge = 1e-6 * np.eye(len(first))
        root = np.real(linalg.sqrtm((first + ridge) @ (second + ridge), disp=False)[0])
    distance = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(first) + np.trace(second) - 2 * np.trace(root)
    return float(max(distance, 0.0))
