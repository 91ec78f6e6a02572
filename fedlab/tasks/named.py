"""Metrics by name, computed from the predictions for a whole set of examples: of classes, and of several labels."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from fedlab.errors import did_you_mean
from fedlab.measures import Metric
from fedlab.tasks.metrics import Compute, Further

_TOP = re.compile(r"top_([1-9]\d*)_accuracy")
_BINS = 15  # of the confidence, for ECE


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


def with_both(y: np.ndarray) -> np.ndarray:
    """Returns bool [L]: True for each label that is 1 in an example of `y` [N, L] and 0 in another."""
    return (y == 1).any(axis=0) & (y == 0).any(axis=0)


def auc_of_labels(predictions: np.ndarray, y: np.ndarray) -> float:
    """Returns the mean area under the ROC curve of the labels of `with_both`; NaN if there are none.

    `predictions`: float [N, L], the probability of each label; `y`: 0 or 1 [N, L].
    """
    return _mean_over_labels("roc_auc_score", predictions, y)


def average_precision_of_labels(predictions: np.ndarray, y: np.ndarray) -> float:
    """Returns the mean average precision, as scikit-learn defines it, over the labels of `with_both`; NaN if there are none."""
    return _mean_over_labels("average_precision_score", predictions, y)


def _mean_over_labels(score: str, predictions: np.ndarray, y: np.ndarray) -> float:
    from sklearn import metrics

    of_label: Callable[..., float] = getattr(metrics, score)
    found = [of_label(y[:, label], predictions[:, label]) for label in np.flatnonzero(with_both(y))]
    return float(np.mean(found)) if found else float("nan")


def undefined_labels(predictions: np.ndarray, y: np.ndarray) -> float:
    """Returns the number of labels that all examples have, or none has: means over labels leave them out."""
    del predictions
    return float(np.sum(~with_both(y)))


_OF_CLASSES: dict[str, tuple[Metric, Compute]] = {
    "balanced_accuracy": (Metric("balanced accuracy", percent=True, more_is_better=True), balanced_accuracy),
    "macro_f1": (Metric("macro F1", percent=True, more_is_better=True), macro_f1),
    "auc": (Metric("AUC", more_is_better=True), auc),
    "ece": (Metric("expected calibration error", percent=True), ece),
}
_OF_LABELS: dict[str, tuple[Metric, Compute]] = {
    "auc": (Metric("AUC, mean over labels", more_is_better=True), auc_of_labels),
    "average_precision": (Metric("average precision, mean over labels", more_is_better=True), average_precision_of_labels),
}
_UNDEFINED = Further("undefined_labels", Metric("labels without both values, left out of means"), undefined_labels)


def check(name: str) -> None:
    """Raises `ValueError` for a name that no task knows."""
    known = list(dict.fromkeys([*_OF_CLASSES, "top_5_accuracy", *_OF_LABELS]))
    if name not in known and not _TOP.fullmatch(name):
        raise ValueError(f"there is no metric '{name}'.{did_you_mean(name, known)} Metrics: {', '.join(known)}")


def of_classes(name: str) -> Further | None:
    """Returns the metric of classification by this name; None for a metric of other tasks.

    It takes predictions float [N, classes], which add up to 1 per example, and classes int [N], N ≥ 1.
    """
    top = _TOP.fullmatch(name)
    if top:
        k = int(top[1])
        metric = Metric(f"top-{k} accuracy", percent=True, more_is_better=True)
        return Further(name, metric, lambda predictions, y: _top(predictions, y, k))
    return Further(name, *_OF_CLASSES[name]) if name in _OF_CLASSES else None


def of_labels(name: str) -> tuple[Further, ...]:
    """Returns the metric of several labels by this name, and the number of labels that it leaves out; () for other metrics.

    They take predictions float [N, labels], each a probability, and 0 or 1 [N, labels], N ≥ 1.
    """
    return (Further(name, *_OF_LABELS[name]), _UNDEFINED) if name in _OF_LABELS else ()


def fewest_classes(name: str) -> int:
    """Returns the least number of classes of data for which the metric means something."""
    top = _TOP.fullmatch(name)
    return int(top[1]) + 1 if top else 2


def _top(predictions: np.ndarray, y: np.ndarray, k: int) -> float:
    """Returns the share of examples whose class is among the `k` with the largest predictions; ties count against it."""
    own = predictions[np.arange(len(y)), y][:, None]
    return float(((predictions >= own).sum(axis=1) <= k).mean())
