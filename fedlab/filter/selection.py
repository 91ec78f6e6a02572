"""Who is kept: by how a classifier does on each user's examples."""

from __future__ import annotations

import dataclasses
import re

import numpy as np

from fedlab.types import Partition


@dataclasses.dataclass(frozen=True)
class Threshold:
    """An accuracy in [0, 1], or the p-th percentile of the users' accuracies."""

    value: float
    is_percentile: bool

    @classmethod
    def parse(cls, text: str) -> Threshold:
        """From "0.9" or "p25". Raises `ValueError`."""
        match = re.fullmatch(r"(p?)(\d+(\.\d*)?|\.\d+)", text)
        if not match or float(match.group(2)) > (100 if match.group(1) else 1):
            raise ValueError(f"'{text}' is neither an accuracy from 0 to 1, such as 0.9, nor a percentile, such as p25")
        return cls(float(match.group(2)), bool(match.group(1)))

    def accuracy(self, accuracies: np.ndarray) -> float:
        """The accuracy it stands for among users of these `accuracies` [U]."""
        return float(np.percentile(accuracies, self.value)) if self.is_percentile else self.value


def select_users(accuracies: np.ndarray, threshold: Threshold, below: bool) -> np.ndarray:
    """Positions of the users of an accuracy below `threshold`, or of those who reach it. `accuracies` [U].

    A percentile is below itself as well: with many users alike, as where the classifier gets nothing right, it may be the lowest.
    """
    limit = threshold.accuracy(accuracies)
    if not below:
        return np.flatnonzero(accuracies >= limit)
    return np.flatnonzero(accuracies <= limit if threshold.is_percentile else accuracies < limit)


def select_examples(correct: np.ndarray, partition: Partition, wrong: bool, min_examples: int) -> dict[str, np.ndarray]:
    """Per user who has at least `min_examples` such: the places, among their own, of those predicted wrongly, or rightly.

    `correct` bool [N], over the training set.
    """
    places = {
        user: np.flatnonzero(correct[np.sort(indices)] != wrong) for user, indices in zip(partition.client_ids, partition.indices)
    }
    return {user: kept for user, kept in places.items() if len(kept) >= min_examples}
