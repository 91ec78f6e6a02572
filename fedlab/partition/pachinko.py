"""Pachinko allocation: clients draw classes along a hierarchy of coarse and fine labels, without replacement."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from fedlab.errors import DataError, did_you_mean
from fedlab.partition.base import FixedNumber, equal_sizes, owned_by
from fedlab.types import ExampleSet, Partition


class Pachinko(FixedNumber):
    """Pachinko allocation (Reddi et al. 2021, appendix on CIFAR-100), as for the clients of TFF's federated CIFAR-100.

    One client after the other draws θ ~ Dirichlet(α) over the coarse labels and, for each of these, θ_c ~ Dirichlet(β) over its
    classes. Each of its examples is of a coarse label drawn from θ and of a class drawn from θ_c, and is drawn from that class
    without replacement. A class without further examples leaves θ_c, and a coarse label without classes leaves θ; the other
    probabilities are renormalised, and later clients draw over the remaining ones only.

    `by`: the attribute that has the coarse label of each example. `alpha`, `beta`: at least 1e-6; small values give a client few
    coarse labels, or few classes of each. All examples are given; clients' sizes differ by at most one. Raises `DataError` for
    an unknown `by`, and if examples of a class have different coarse labels.
    """

    alpha: float = Field(0.1, ge=1e-6, allow_inf_nan=False)
    beta: float = Field(10.0, ge=1e-6, allow_inf_nan=False)
    by: str = Field("coarse_label", min_length=1)

    needs_classes: ClassVar[bool] = True

    def largest_client(self, num_examples: int) -> int:
        return -(-num_examples // self.num_clients)

    def _divide(self, examples: ExampleSet, rng: np.random.Generator) -> Partition:
        left = {c: list(rng.permutation(np.flatnonzero(examples.y == c))) for c in np.unique(examples.y).tolist()}
        tree = self._hierarchy(examples)
        owners = np.empty(len(examples), np.int64)
        for client, size in enumerate(equal_sizes(len(examples), self.num_clients).tolist()):
            owners[self._draw(size, tree, left, rng)] = client
        return owned_by(owners, self.num_clients)

    def _hierarchy(self, examples: ExampleSet) -> dict[str, list[int]]:
        """Returns the classes with examples of each coarse label."""
        coarse = examples.attributes.get(self.by)
        if coarse is None:
            known = list(examples.attributes)
            exist = f"It has: {', '.join(known)}." if known else "It has none; data=cifar100 has coarse_label."
            raise DataError(
                f"partition=pachinko needs the coarse label of each example, and this data has no column {self.by} "
                f"(partition.by).{did_you_mean(self.by, known)} {exist}"
            )
        tree: dict[str, list[int]] = {}
        for label in np.unique(examples.y).tolist():
            parents = np.unique(coarse[examples.y == label])
            if len(parents) > 1:
                raise DataError(
                    f"partition.by={self.by}: examples of class {label} have the values {parents[0]} and {parents[1]}, and a "
                    "class belongs to one coarse label: choose another column."
                )
            tree.setdefault(str(parents[0]), []).append(label)
        return tree

    def _draw(self, size: int, tree: dict[str, list[int]], left: dict[int, list[int]], rng: np.random.Generator) -> list[int]:
        """Returns the examples of the next client, and removes them from `left`, and what is used up from `tree`."""
        root = dict(zip(tree, rng.dirichlet(np.full(len(tree), self.alpha))))
        leaves = {c: dict(zip(fine, rng.dirichlet(np.full(len(fine), self.beta)))) for c, fine in tree.items()}
        found = []
        for _ in range(size):
            coarse = _one_of(root, rng)
            label = _one_of(leaves[coarse], rng)
            found.append(left[label].pop())
            if not left[label]:
                del leaves[coarse][label]
                tree[coarse].remove(label)
            if not tree[coarse]:
                del root[coarse], tree[coarse]
        return found


def _one_of(chances: dict, rng: np.random.Generator) -> Any:
    """Returns a key, drawn in proportion to the chances; uniformly if all that are left have underflowed to 0."""
    keys, ends = list(chances), np.cumsum(list(chances.values()))
    if ends[-1] <= 0:
        return keys[rng.integers(len(keys))]
    return keys[min(int(np.searchsorted(ends, rng.random() * ends[-1], side="right")), len(keys) - 1)]
