"""Heterogeneity of a partition: sizes, classes per client, and two distances from the global label distribution."""

from __future__ import annotations

import dataclasses

import numpy as np

from fedlab.types import Partition


@dataclasses.dataclass(frozen=True)
class Heterogeneity:
    """Statistics over the clients of a partition; each client counts once. Triples are (min, median, max)."""

    num_clients: int
    examples: tuple[int, float, int]
    classes: tuple[int, float, int]  # number of different labels per client
    mean_label_entropy: float  # bits: 0 if every client has one class, at most log2(num_classes)
    mean_total_variation: float  # in [0, 1), distance to the labels of all clients: 0 if all have the same distribution


def label_counts(labels: np.ndarray, partition: Partition, num_classes: int) -> np.ndarray:
    """Returns int64 [clients, num_classes]: the examples per client and class. `labels` [N] in [0, num_classes)."""
    cells = np.repeat(np.arange(len(partition)) * num_classes, partition.sizes) + labels[partition.owned]
    return np.bincount(cells, minlength=len(partition) * num_classes).reshape(len(partition), num_classes)


def heterogeneity(labels: np.ndarray, partition: Partition, num_classes: int) -> Heterogeneity:
    """Returns the statistics of `partition` over the training labels [N]."""
    counts = label_counts(labels, partition, num_classes)
    p = counts / counts.sum(axis=1, keepdims=True)
    global_p = counts.sum(axis=0) / counts.sum()
    entropy = -np.sum(p * np.log2(p, out=np.zeros_like(p), where=p > 0), axis=1)
    return Heterogeneity(
        num_clients=len(partition),
        examples=_spread(counts.sum(axis=1)),
        classes=_spread((counts > 0).sum(axis=1)),
        mean_label_entropy=float(entropy.mean()) + 0.0,  # + 0.0: no "-0.00" if every client has one class
        mean_total_variation=float(np.abs(p - global_p).sum(axis=1).mean() / 2),
    )


def _spread(values: np.ndarray) -> tuple[int, float, int]:
    return int(values.min()), float(np.median(values)), int(values.max())
