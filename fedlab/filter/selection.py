"""Selects users or examples by a classifier's accuracy on each user's examples."""

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
        """Parses "0.9" or "p25". Raises `ValueError`."""
        match = re.fullmatch(r"(p?)(\d+(\.\d*)?|\.\d+)", text)
        if not match or float(match.group(2)) > (100 if match.group(1) else 1):
            raise ValueError(f"'{text}' is neither an accuracy from 0 to 1, such as 0.9, nor a percentile, such as p25")
        return cls(float(match.group(2)), bool(match.group(1)))

    def accuracy(self, accuracies: np.ndarray) -> float:
        """Returns the threshold as an accuracy, for users of these `accuracies` [U]."""
        return float(np.percentile(accuracies, self.value)) if self.is_percentile else self.value


def select_users(accuracies: np.ndarray, threshold: Threshold, below: bool) -> np.ndarray:
    """Returns the positions of users with an accuracy below `threshold`, or of those that reach it. `accuracies` [U].

    A user at a percentile threshold counts as below it: if many users have equal accuracies, such as 0, the percentile may be
    the lowest accuracy.
    """
    limit = threshold.accuracy(accuracies)
    if not below:
        return np.flatnonzero(accuracies >= limit)
    return np.flatnonzero(accuracies <= limit if threshold.is_percentile else accuracies < limit)


def select_examples(correct: np.ndarray, partition: Partition, wrong: bool, min_examples: int) -> dict[str, np.ndarray]:
    """Returns, per user, the positions of the user's examples that are predicted wrongly (`wrong`), or correctly.

    Users with fewer than `min_examples` of these are left out. `correct`: bool [N], over the training set.
    """
    places = {
        user: np.flatnonzero(correct[np.sort(indices)] != wrong) for user, indices in zip(partition.client_ids, partition.indices)
    }
    return {user: kept for user, kept in places.items() if len(kept) >= min_examples}
