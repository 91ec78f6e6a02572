"""`Filter`: the stage between the partition and who takes part."""

from __future__ import annotations

import abc
import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from fedlab.errors import DataError, did_you_mean
from fedlab.filter.files import Provenance, read_examples, read_users
from fedlab.spec import Spec
from fedlab.types import Dataset, Partition

Fingerprints = Callable[[Dataset, Partition], tuple[str, str]]  # of the data, of the division; takes a moment for much data


class Filter(Spec):
    """Keeps some clients of a partition, or some of their examples."""

    def check(self) -> None:
        """Raises `DataError` for what can be found wrong before any data is read."""

    @abc.abstractmethod
    def __call__(self, dataset: Dataset, partition: Partition, fingerprints: Fingerprints) -> Partition:
        """`partition` of `dataset`, which has the bug in it, with what is kept. Raises `DataError`."""


class NoFilter(Filter):
    """Everybody, with everything."""

    def __call__(self, dataset: Dataset, partition: Partition, fingerprints: Fingerprints) -> Partition:
        return partition


class FromFile(Filter):
    """What the file at `path` keeps, made from the same data by `fedlab data filter`.

    `verify`: refuses a file that was made from other data, that does not say, or that was changed since. Ids that nobody has,
    ids that come twice and places beyond a user's examples are refused in any case.
    """

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
        if users is not None and any(str(users[i[0]]) != name for name, i in zip(partition.client_ids, partition.indices)):
            raise DataError(f"{self.path} keeps users, and the clients of this partition are none: use partition=by_user.")
        if self.verify:
            self._verify(dataset, partition, fingerprints)
        known = set(partition.client_ids) if users is None else {str(user) for user in np.unique(users)}
        for user in kept:
            if user not in known:
                raise DataError(f"{self.path}: the data has no user '{user}'.{did_you_mean(user, known)}")
        places = [place for place, name in enumerate(partition.client_ids) if name in kept]
        if not places:
            raise DataError(f"{self.path} keeps {len(kept)} users, none of whom is a client: the partition left them out.")
        return dataclasses.replace(
            partition,
            client_ids=tuple(partition.client_ids[p] for p in places),
            indices=tuple(self._kept(partition.client_ids[p], np.sort(partition.indices[p]), kept) for p in places),
        )

    def _verify(self, dataset: Dataset, partition: Partition, fingerprints: Fingerprints) -> None:
        provenance, (data, clients) = Provenance.read(self._file), fingerprints(dataset, partition)
        expected = [("data", provenance.data, data)]
        if dataset.train.user_ids is None:  # with ids, who holds what follows from the data
            expected.append(("a division", provenance.clients, clients))
        for what, then, now in expected:
            if then != now:
                raise DataError(
                    f"{self.path} was made from {what} of fingerprint {then[:12]}…, and this run's is {now[:12]}…: make it anew "
                    "with `fedlab data filter` for the same seed, data, corruption and partition, or set filter.verify=false."
                )

    @abc.abstractmethod
    def _read(self) -> Mapping[str, Any]: ...

    @abc.abstractmethod
    def _kept(self, user: str, indices: np.ndarray, kept: Mapping[str, Any]) -> np.ndarray: ...


class Users(FromFile):
    """Keeps the users in the file, with all of their examples. The flag beside their ids is for scoring: it is not read here."""

    def _read(self) -> Mapping[str, Any]:
        return dict.fromkeys(read_users(self._file))

    def _kept(self, user: str, indices: np.ndarray, kept: Mapping[str, Any]) -> np.ndarray:
        return indices


class Examples(FromFile):
    """Keeps the users in the file, with those of their examples that it names."""

    def _read(self) -> Mapping[str, Sequence[int]]:
        return read_examples(self._file)

    def _kept(self, user: str, indices: np.ndarray, kept: Mapping[str, Any]) -> np.ndarray:
        places = kept[user]  # of any size, which an array of integers need not hold
        if max(places) >= len(indices):
            raise DataError(
                f"{self.path}: user '{user}' has {len(indices)} examples, places 0 to {len(indices) - 1}; "
                f"the file names {max(places)}."
            )
        return indices[sorted(places)]
