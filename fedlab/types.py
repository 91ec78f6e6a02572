"""The few frozen types that several folders use. They stand on `fedlab.tasks`: an example set has a task."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fedlab.errors import DataError
from fedlab.measures import Metric
from fedlab.ragged import Ragged, chosen, flat_of, sizes_of
from fedlab.tasks import Classification, Prediction

__all__ = ["Cohort", "Dataset", "ExampleSet", "Metric", "Partition"]


# Compared by identity, so that engines can share arrays
@dataclasses.dataclass(frozen=True, eq=False, init=False)
class ExampleSet:
    """Examples in memory, each with a target. The `task` defines the target.

    `x` [N, ...]: uint8 (an image, scaled to [0, 1] inside the graph), float32, or int32 (such as characters); the last two are
    used unchanged.
    `y` [N, ...]: shape and dtype of the task's targets; for classification int32 [N] in [0, num_classes).
    `user_ids` [N]: int64 or str, the user who produced each example; None if unknown.
    `attributes`: further values of each example by name, [N] each, which models do not receive: for partitions.
    """

    x: np.ndarray
    y: np.ndarray
    task: Prediction
    user_ids: np.ndarray | None
    attributes: Mapping[str, np.ndarray]

    def __init__(
        self,
        x: np.ndarray,
        y: np.ndarray,
        num_classes: int | None = None,
        user_ids: np.ndarray | None = None,
        task: Prediction | None = None,
        attributes: Mapping[str, np.ndarray] | None = None,
    ):
        """`num_classes`: the number of classes, for classification; replaces `task`.

        Raises `DataError` for an array of a wrong type or shape, because a user's data source creates example sets, too.
        """
        if num_classes is not None:
            task = Classification(num_classes=num_classes)
        if task is None:
            raise DataError("ExampleSet has neither num_classes nor a task: give one of them.")
        for name, value in (
            *(("x", x), ("y", y), ("task", task), ("user_ids", user_ids)),
            ("attributes", dict(attributes or {})),
        ):
            object.__setattr__(self, name, value)
        _check(self)

    def __len__(self) -> int:
        return len(self.y)

    @property
    def num_classes(self) -> int:
        """Returns the number of classes. Raises `DataError` if the task of the data has no classes."""
        if self.task.num_classes is None:
            raise DataError(f"this needs data with classes, and the task of this data is {self.task.name}.")
        return self.task.num_classes

    def select(self, indices: np.ndarray) -> ExampleSet:
        """Returns the examples at `indices` [M], in that order."""
        ids = None if self.user_ids is None else self.user_ids[indices]
        also = {name: values[indices] for name, values in self.attributes.items()}
        return dataclasses.replace(self, x=self.x[indices], y=self.y[indices], user_ids=ids, attributes=also)


def _check(examples: ExampleSet) -> None:
    """Raises `DataError` unless the arrays have the types and shapes that `ExampleSet` and its task require."""
    x, y, task = examples.x, examples.y, examples.task
    for name, array in (("x", x), ("y", y)):
        if not isinstance(array, np.ndarray) or not array.ndim:
            raise DataError(f"ExampleSet: {name} is a {type(array).__name__}; it must be an array [examples, …] of NumPy.")
    if x.dtype not in (np.uint8, np.float32, np.int32):
        raise DataError(
            f"ExampleSet: x is {x.dtype}; it must be float32, uint8 (images) or int32 (such as tokens): use x.astype(np.float32)."
        )
    target = np.dtype(task.target_dtype)
    if y.dtype != target:
        raise DataError(f"ExampleSet: y is {y.dtype}; the targets of {task.name} are {target}: use y.astype(np.{target}).")
    if y.shape != (len(x), *task.target_shape):
        raise DataError(
            f"ExampleSet: y has the shape {list(y.shape)}; for {len(x):,} examples, the targets of {task.name} have the shape "
            f"{[len(x), *task.target_shape]}."
        )
    if examples.user_ids is not None and len(examples.user_ids) != len(x):
        raise DataError(
            f"ExampleSet: user_ids has {len(examples.user_ids):,} entries for {len(x):,} examples: give one for each."
        )
    for name, values in examples.attributes.items():
        if np.shape(values) != (len(x),):
            raise DataError(f"ExampleSet: attribute {name} has the shape {list(np.shape(values))}; it must be [{len(x)}].")


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A named pair of example sets with the same shapes, dtype and task.

    `columns`: the encoding of each column, for the manifest, if the data was a table. `affected`: for each user, whether a
    corruption has changed the user's examples; {} without a corruption.
    """

    name: str
    train: ExampleSet
    test: ExampleSet
    columns: tuple[Mapping[str, Any], ...] = ()
    affected: Mapping[str, bool] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Partition:
    """The training examples of each client: one integer array of indices per client, disjoint, in unspecified order.

    `indices` and `held_out` may be given as any sequences of arrays. They are stored as one array of indices and one of offsets
    (`fedlab.ragged.Ragged`), which read as a sequence of arrays, so that a million clients are no million objects.
    """

    client_ids: Sequence[str]  # one name per client: the user id if there is one, else "0", "1", …
    indices: Sequence[np.ndarray]  # [n_c] per client, positions in the training set
    held_out: Sequence[np.ndarray] | None = None  # the same for held-out examples of each client; None: no client has any
    unseen: Partition | None = None  # clients that are never trained, none of which is among those above; None: there are none

    def __post_init__(self) -> None:
        assert len(self.client_ids) == len(self.indices)
        assert self.held_out is None or len(self.held_out) == len(self.indices)
        object.__setattr__(self, "indices", Ragged.of(self.indices))
        object.__setattr__(self, "held_out", None if self.held_out is None else Ragged.of(self.held_out))

    def __len__(self) -> int:
        """Returns the number of clients that can take part in training."""
        return len(self.indices)

    @property
    def sizes(self) -> np.ndarray:
        """Returns the number of training examples of each client, int64 [clients]."""
        return sizes_of(self.indices)

    @property
    def owned(self) -> np.ndarray:
        """Returns the indices of all clients, one client after another: integers [examples of all clients]."""
        return flat_of(self.indices)

    @property
    def evaluated(self) -> Partition:
        """Returns the examples on which each client evaluates a model: its held-out examples (possibly none) if the partition has
        any, else its training examples.
        """
        return self if self.held_out is None else Partition(self.client_ids, self.held_out)

    def select(self, places: np.ndarray) -> Partition:
        """Returns the clients at `places` [m], in that order, with their held-out examples and without the unseen clients."""
        held_out = None if self.held_out is None else chosen(self.held_out, places)
        return Partition(chosen(self.client_ids, places), chosen(self.indices, places), held_out)


@dataclasses.dataclass(frozen=True)
class Cohort:
    """The clients of one round, as ascending positions in the partition, so that no result depends on the sampling order."""

    round: int  # 1 for the first
    clients: np.ndarray  # int64 [K]: sampled clients that report
    dropped: np.ndarray  # int64 [D]: sampled clients that drop out before reporting
    seconds: float | None = None  # simulated duration of the round; None: no clock
    # int64 [K]: the server steps since each client received its model; None: all train from the newest one. Only in asynchronous
    # training, where `dropped` may name a client twice, or one of `clients`, which then dropped out before
    staleness: np.ndarray | None = None
    num_too_stale: int = 0  # how many of `dropped` reported, but too late
