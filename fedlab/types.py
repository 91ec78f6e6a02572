"""The few frozen types that cross folders."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)  # two are the same if they are one, so that engines can share what they hold
class ExampleSet:
    """Labelled examples in memory.

    `x` [N, ...]: uint8 (an image, scaled to [0, 1] inside the graph) or float32 (used as it is).
    `y` [N]: int32 in [0, num_classes). `user_ids` [N]: int64 or str, who produced each example; None where nobody knows.
    """

    x: np.ndarray
    y: np.ndarray
    num_classes: int
    user_ids: np.ndarray | None = None

    def __post_init__(self) -> None:
        assert self.x.dtype in (np.uint8, np.float32), self.x.dtype
        assert self.y.dtype == np.int32 and self.y.shape == (len(self.x),), (self.y.dtype, self.y.shape)
        assert self.user_ids is None or len(self.user_ids) == len(self.x)

    def __len__(self) -> int:
        return len(self.y)

    def select(self, indices: np.ndarray) -> ExampleSet:
        """The examples at `indices` [M], in that order."""
        ids = None if self.user_ids is None else self.user_ids[indices]
        return dataclasses.replace(self, x=self.x[indices], y=self.y[indices], user_ids=ids)


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A named pair of example sets with the same shapes, dtype and classes."""

    name: str
    train: ExampleSet
    test: ExampleSet


@dataclasses.dataclass(frozen=True)
class Partition:
    """Which training examples each client holds: one int64 index array per client, disjoint, in no promised order."""

    client_ids: tuple[str, ...]  # a name per client: the user id where there is one, else "0", "1", …
    indices: tuple[np.ndarray, ...]  # int64 [n_c] per client, positions in the training set
    held_out: tuple[np.ndarray, ...] | None = None  # the same for examples that a client keeps from training; None: for nobody

    def __post_init__(self) -> None:
        assert len(self.client_ids) == len(self.indices)
        assert self.held_out is None or len(self.held_out) == len(self.indices)

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def sizes(self) -> np.ndarray:
        """int64 [clients]: how many examples each client holds."""
        return np.array([len(i) for i in self.indices], np.int64)

    @property
    def evaluated(self) -> Partition:
        """What each client judges a model by: the examples it has held out, which may be none, or else those it trains on."""
        return self if self.held_out is None else Partition(self.client_ids, self.held_out)


@dataclasses.dataclass(frozen=True)
class Cohort:
    """Who takes part in one round. Positions in the partition, ascending, so that no result depends on a sampling order."""

    round: int  # 1 for the first
    clients: np.ndarray  # int64 [K]: sampled, and they report
    dropped: np.ndarray  # int64 [D]: sampled, and they vanish before reporting
