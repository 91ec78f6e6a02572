"""`Corruption`: the common base of all bugs. It chooses the affected users."""

from __future__ import annotations

import abc
import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import BeforeValidator, Field

from fedlab.draws import uniforms
from fedlab.errors import DataError, did_you_mean
from fedlab.ragged import Names, flat_of, grouped
from fedlab.randomness import generator
from fedlab.spec import Spec, shown
from fedlab.tasks import Prediction
from fedlab.types import Dataset, ExampleSet, Partition

UserId = Annotated[str, BeforeValidator(str)]  # a configuration's 12 is the user "12"


class Corruption(Spec):
    """A bug in every example of some users, in the training set and in the test set.

    `fraction`: in [0, 1], the probability that a user is affected. The draw depends only on the run's seed and the user's id, not
    on other users; the users affected at 0.2 are also affected at 0.5. `users`: the ids of the affected users, instead of a
    fraction. `held_out`: False leaves the examples that clients hold out from training (`evaluation.holdout`) as they are.

    Users are the data's user ids. Without user ids they are the clients of the partition, and the test set, which belongs to
    no client, stays unchanged.
    """

    makes: ClassVar[Mapping[str, tuple[str, ...]]] = {"__call__": ("fedlab.types.Dataset",)}

    fraction: float = Field(0.5, ge=0, le=1)
    users: tuple[UserId, ...] | None = None
    held_out: bool = True

    def affected(self, dataset: Dataset, partition: Partition, seed: int) -> dict[str, bool]:
        """Returns, for each user in ascending order of ids, True if the user is affected. Use it only to score detections.

        Raises `DataError` if `users` contains an unknown user.
        """
        names = {**_examples_of(dataset.train, partition), **_examples_of(dataset.test, None)}
        if self.users is None:
            drawn = uniforms(seed, "corruption", np.array([number_of(name) for name in names], np.uint64))
            return dict(zip(names, (drawn < self.fraction).tolist()))
        for user in self.users:
            if user not in names:
                raise DataError(f"corruption.users: there is no user '{user}'.{did_you_mean(user, names)}")
        chosen = set(self.users)
        return {name: name in chosen for name in names}

    def __call__(self, dataset: Dataset, partition: Partition, seed: int) -> Dataset:
        """Returns the data with the bug, in copies of the arrays, and with `affected`; `partition` has all clients."""
        affected = self.affected(dataset, partition, seed)
        if not any(affected.values()):
            return dataclasses.replace(dataset, affected=affected) if affected else dataset
        in_train, in_test = _examples_of(dataset.train, partition), _examples_of(dataset.test, None)
        places = {**_places([user for user in in_test if user not in in_train]), **_places(list(in_train))}
        degrees = {user: self._degree(user, places[user], seed) for user, has_it in affected.items() if has_it}
        train = self._with_bug(dataset.train, in_train, degrees, seed, "train")
        test = self._with_bug(dataset.test, in_test, degrees, seed, "test")
        return dataclasses.replace(dataset, train=train, test=test, affected=affected)

    def _with_bug(
        self, examples: ExampleSet, examples_of: dict[str, np.ndarray], degrees: dict[str, float], seed: int, part: str
    ) -> ExampleSet:
        x, y = examples.x.copy(), examples.y.copy()
        for user, indices in examples_of.items():
            if user in degrees:
                rng = generator(seed, f"corruption of {part}", number_of(user))
                given = x[indices], y[indices]
                made = self._corrupt_to(degrees[user], *given, examples.task.num_classes or 0, rng)
                x[indices], y[indices] = self._checked(made, *given, examples.task)
        return dataclasses.replace(examples, x=x, y=y)

    def _checked(self, returned: Any, x: np.ndarray, y: np.ndarray, task: Prediction) -> tuple[np.ndarray, np.ndarray]:
        """Returns the result of `_corrupt` for one user. Raises `DataError` if it is not x and y of the same shapes and types."""
        name = f"corruption: {type(self).__name__}._corrupt"
        if not isinstance(returned, tuple) or len(returned) != 2:
            raise DataError(f"{name} returned {shown(returned)}; it must return (x, y).")
        for what, new, old in (("x", returned[0], x), ("y", returned[1], y)):
            given = f"{new.dtype} {list(new.shape)}" if isinstance(new, np.ndarray) else shown(new)
            if given != f"{old.dtype} {list(old.shape)}":
                raise DataError(f"{name} returned {what} as {given}; it must stay {old.dtype} {list(old.shape)}.")
        new_x, new_y = returned
        if not np.isfinite(new_x).all():
            raise DataError(f"{name} returned x with NaN or infinity; all values must be finite.")
        try:
            task.check_inputs(new_x)
        except DataError as error:
            raise DataError(f"{name} returned {error}") from None
        check_targets(name, new_y, task)
        return new_x, new_y

    def _degree(self, user: str, place: float, seed: int) -> float:
        """Returns the degree of the change of a user's examples, in [0, 1].

        `place`: i / N of the i-th of N users with training examples; of a user of the test set only, among those.
        """
        return 1.0

    def _corrupt_to(
        self, degree: float, x: np.ndarray, y: np.ndarray, num_classes: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns one user's examples with the bug to this degree, as `_corrupt`."""
        return self._corrupt(x, y, num_classes, rng)

    @abc.abstractmethod
    def _corrupt(self, x: np.ndarray, y: np.ndarray, num_classes: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Returns one user's examples with the bug: x [n, …] of the same shape and type, y [n] in [0, num_classes).

        `num_classes`: 0 if the data has no classes; then y has the task's shape and type.
        """


def check_targets(name: str, y: np.ndarray, task: Prediction) -> None:
    """Raises `DataError` where targets that `name` returned are none of `task`."""
    try:
        task.check_targets(y)
    except DataError as error:
        raise DataError(f"{name} returned {error}") from None


def number_of(user: str) -> int:
    """Returns a number in [0, 2^64) that depends only on the id; a user's position would depend on the other users."""
    return int.from_bytes(hashlib.sha256(user.encode()).digest()[:8], "big")


def _places(users: Sequence[str]) -> dict[str, float]:
    """Returns i / N of the i-th of N users."""
    return {user: (i + 1) / len(users) for i, user in enumerate(users)}


def without_held_out(dataset: Dataset, clean: Dataset, partition: Partition) -> Dataset:
    """Returns `dataset` with the held-out examples of all clients as they are in `clean`."""
    parts = [p for p in (partition, partition.unseen) if p is not None and p.held_out is not None]
    indices = np.concatenate([np.zeros(0, np.int64), *(flat_of(p.held_out or ()) for p in parts)])
    x, y = dataset.train.x.copy(), dataset.train.y.copy()
    x[indices], y[indices] = clean.train.x[indices], clean.train.y[indices]
    return dataclasses.replace(dataset, train=dataclasses.replace(dataset.train, x=x, y=y))


def _examples_of(examples: ExampleSet, partition: Partition | None) -> dict[str, np.ndarray]:
    """Returns each user's indices, in ascending order of ids; {} if there are neither user ids nor a partition."""
    if examples.user_ids is None:
        return dict(zip(partition.client_ids, partition.indices)) if partition else {}
    users, by_user = grouped(examples.user_ids)
    return dict(zip(Names.of(users), by_user))
