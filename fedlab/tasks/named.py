"""Metrics of classification by name, computed from the predictions for the whole test set."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from fedlab.errors import did_you_mean
from fedlab.measures import Metric

_TOP = re.compile(r"top_([1-9]\d*)_accuracy")
_BINS = 15  # of the confidence, for ECE

# Predictions float [N, classes], which add up to 1 per example, and classes int [N] → the metric
Compute = Callable[[np.ndarray, np.ndarray], float]


def balanced_accuracy(predictions: np.ndarray, y: np.ndarray) -> float:
    """Returns the mean, over the classes in `y`, of the share of their examples that are predicted rightly."""
    right = predictions.argmax(axis=1) == y
    return float(np.mean([right[y == label].mean() for label in np.unique(y)]))


def macro_f1(predictions: np.ndarray, y: np.ndarray) -> float:
    """Returns the mean of F1 = 2 TP / (2 TP + FP + FN) over the classes that are in `y` or are predicted."""
    from sklearn.metrics import f1_score

    return float(f1_score(y, predictions.argmax(axis=1), average="macro", zero_division=0.0))


def auc(predictions: np.ndarray, y: np.ndarray) -> float:
    """Returns the area under the ROC curve of the second of two classes, or the mean over classes of each against the rest.

    NaN if `y` lacks a class.
    """
    from sklearn.metrics import roc_auc_score

    num_classes = predictions.shape[1]
    if len(np.unique(y)) < num_classes:
        return float("nan")
    if num_classes == 2:
        return float(roc_auc_score(y, predictions[:, 1]))
    return float(np.mean([roc_auc_score(y == label, predictions[:, label]) for label in range(num_classes)]))


def ece(predictions: np.ndarray, y: np.ndarray) -> float:
    """Returns the expected calibration error (Guo et al. 2017, equation 3): the mean of |accuracy − confidence| over 15 bins of
    equal width of the confidence, weighted by examples."""
    confidence, right = predictions.max(axis=1), predictions.argmax(axis=1) == y
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    gaps = [abs(right[bins == b].sum() - confidence[bins == b].sum()) for b in range(_BINS)]
    return float(np.sum(gaps) / len(y))


_METRICS: dict[str, tuple[Metric, Compute]] = {
    "balanced_accuracy": (Metric("balanced accuracy", percent=True, more_is_better=True), balanced_accuracy),
    "macro_f1": (Metric("macro F1", percent=True, more_is_better=True), macro_f1),
    "auc": (Metric("AUC", more_is_better=True), auc),
    "ece": (Metric("expected calibration error", percent=True), ece),
}


def metric_of(name: str) -> Metric:
    """Returns the display of a metric. Raises `ValueError` for an unknown name."""
    return _found(name)[0]


def computed(name: str, predictions: np.ndarray, y: np.ndarray) -> float:
    """Returns the metric `name`; NaN if a prediction is not finite.

    `predictions`: float [N, classes], which add up to 1 per example; `y`: int [N], N ≥ 1.
    """
    return _found(name)[1](predictions, y) if np.isfinite(predictions).all() else float("nan")


def fewest_classes(name: str) -> int:
    """Returns the least number of classes of data for which the metric means something."""
    top = _TOP.fullmatch(name)
    return int(top[1]) + 1 if top else 2


def _found(name: str) -> tuple[Metric, Compute]:
    top = _TOP.fullmatch(name)
    if top:
        k = int(top[1])
        return Metric(f"top-{k} accuracy", percent=True, more_is_better=True), lambda p, y: _top(p, y, k)
    if name not in _METRICS:
        known = [*_METRICS, "top_5_accuracy"]
        raise ValueError(f"there is no metric '{name}'.{did_you_mean(name, known)} Metrics: {', '.join(known)}")
    return _METRICS[name]


def _top(predictions: np.ndarray, y: np.ndarray, k: int) -> float:
    """Returns the share of examples whose class is among the `k` with the largest predictions; ties count against it."""
    own = predictions[np.arange(len(y)), y][:, None]
    return float(((predictions >= own).sum(axis=1) <= k).mean())
