"""`Filter`: the stage between the partition and the cohort."""

from __future__ import annotations

import abc
import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from fedlab.errors import DataError, did_you_mean
from fedlab.filter.files import Provenance, read_examples, read_users, shown
from fedlab.ragged import Names
from fedlab.spec import Spec
from fedlab.types import Dataset, Partition

Fingerprints = Callable[[Dataset, Partition], tuple[str, str]]  # (of the data, of the partition); slow for large data


class Filter(Spec):
    """Keeps some clients of a partition, or some of their examples."""

    makes: ClassVar[Mapping[str, tuple[str, ...]]] = {"__call__": ("fedlab.types.Partition",)}

    def check(self) -> None:
        """Raises `DataError` for mistakes that can be found before any data is read."""

    @abc.abstractmethod
    def __call__(self, dataset: Dataset, partition: Partition, fingerprints: Fingerprints) -> Partition:
        """Returns the part of `partition` that is kept; `dataset` includes the corruption. Raises `DataError`."""


class NoFilter(Filter):
    """No filter: keeps all clients and all examples."""

    def __call__(self, dataset: Dataset, partition: Partition, fingerprints: Fingerprints) -> Partition:
        return partition


class FromFile(Filter):
    """Keeps the users or examples in the file at `path`, which `fedlab data filter` made from the same data.

    `verify`: refuses a file that was made from other data, that has no provenance, or that was changed later. Unknown ids,
    repeated ids and positions beyond a user's examples are always refused.
    """

    locations: ClassVar[tuple[str, ...]] = ("path",)

    path: str
    verify: bool = True

    @property
    def _file(self) -> pathlib.Path:
        return pathlib.Path(self.path).expanduser()

    def check(self) -> None:
        self._read()
        if self.verify:
            Provenance.read(self._file).require(self._file)

    def __call__(self, dataset: Dataset, partition: Partition, fingerprints: Fingerprints) -> Partition:
        kept = self._read()
        users = dataset.train.user_ids
        if users is not None and not _are_users(partition, users):
            raise DataError(f"{self.path} keeps users, but the clients of this partition are not users: use partition=by_user.")
        if self.verify:
            self._verify(dataset, partition, fingerprints)
        known = set(partition.client_ids if users is None else Names.of(np.unique(users)))
        for user in kept:
            if user not in known:
                raise DataError(f"{self.path}: the data has no user '{shown(user)}'.{did_you_mean(user, known)}")
        places = np.array([place for place, name in enumerate(partition.client_ids) if name in kept], np.int64)
        if not len(places):
            raise DataError(
                f"{self.path} keeps {len(kept)} users, none of whom is a client, because the partition left them out: use "
                "another filter file or partition."
            )
        chosen = partition.select(places)
        each = zip(chosen.client_ids, chosen.indices)
        indices = tuple(self._kept(name, np.sort(mine), kept) for name, mine in each)
        return dataclasses.replace(chosen, indices=indices, unseen=partition.unseen)

    def _verify(self, dataset: Dataset, partition: Partition, fingerprints: Fingerprints) -> None:
        provenance, (data, clients) = Provenance.read(self._file), fingerprints(dataset, partition)
        provenance.require(self._file)
        expected = [("data", provenance.data, data)]
        if dataset.train.user_ids is None:  # with user ids the partition follows from the data
            expected.append(("a partition", provenance.clients, clients))
        for what, then, now in expected:
            if then != now:
                raise DataError(
                    f"{self.path} was made from {what} with fingerprint {then[:12]}…, but this run's is {now[:12]}…: run "
                    "`fedlab data filter` again for the same seed, data, corruption and partition, or set filter.verify=false."
                )

    @abc.abstractmethod
    def _read(self) -> Mapping[str, Any]: ...

    @abc.abstractmethod
    def _kept(self, user: str, indices: np.ndarray, kept: Mapping[str, Any]) -> np.ndarray: ...


def _are_users(partition: Partition, users: np.ndarray) -> bool:
    """Returns True if the first example of each client is of the user of its name. `users`: the user of each example."""
    firsts = partition.owned[np.cumsum(partition.sizes) - partition.sizes]
    return tuple(Names.of(users[firsts])) == tuple(partition.client_ids)


class Users(FromFile):
    """Keeps the users in the file with all of their examples. The flag in the second column is for scoring and is ignored."""

    def _read(self) -> Mapping[str, Any]:
        return dict.fromkeys(read_users(self._file))

    def _kept(self, user: str, indices: np.ndarray, kept: Mapping[str, Any]) -> np.ndarray:
        return indices


class Examples(FromFile):
    """Keeps the users in the file, each with the examples that the file lists."""

    def _read(self) -> Mapping[str, Sequence[int]]:
        return read_examples(self._file)

    def _kept(self, user: str, indices: np.ndarray, kept: Mapping[str, Any]) -> np.ndarray:
        places = kept[user]  # a list: the file's integers may be too large for an array
        if max(places) >= len(indices):
            raise DataError(
                f"{self.path}: user '{shown(user)}' has {len(indices)} examples at positions 0 to {len(indices) - 1}; "
                f"the file lists {max(places)}."
            )
        return indices[sorted(places)]
