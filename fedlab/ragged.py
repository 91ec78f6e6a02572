"""Many short arrays in one, and many names in one array: a population of a million clients in three arrays instead of objects."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Ragged(Sequence[np.ndarray]):
    """Arrays of any lengths, one after another. It reads as a sequence of arrays, which are views of `flat`.

    `flat` [n]: integers. `offsets`: int64 [arrays + 1], ascending from 0 to n: array i is flat[offsets[i] : offsets[i + 1]].
    """

    flat: np.ndarray
    offsets: np.ndarray

    @classmethod
    def of_sizes(cls, flat: np.ndarray, sizes: np.ndarray) -> Ragged:
        """Returns `flat` [n] cut into arrays of these `sizes` [arrays], which sum to n."""
        offsets = np.zeros(len(sizes) + 1, np.int64)
        np.cumsum(sizes, out=offsets[1:])
        return cls(flat, offsets)

    @classmethod
    def of(cls, arrays: Sequence[Any]) -> Sequence[Any]:
        """Returns `arrays` as a `Ragged`; unchanged unless all are one-dimensional, of the same type of integers."""
        if isinstance(arrays, Ragged) or not len(arrays):
            return arrays
        try:
            each = [np.asarray(array) for array in arrays]
        except ValueError:  # nested lists of several lengths
            return arrays
        if any(array.ndim != 1 or array.dtype.kind not in "iu" or array.dtype != each[0].dtype for array in each):
            return arrays
        return cls.of_sizes(np.concatenate(each), np.array([len(array) for array in each], np.int64))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, place: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, place: slice) -> Ragged: ...
    def __getitem__(self, place: int | slice) -> np.ndarray | Ragged:
        if isinstance(place, slice):
            return self.select(np.arange(len(self))[place])
        if not -len(self) <= place < len(self):
            raise IndexError(f"array {place} of {len(self)}")
        place = place % len(self)
        return self.flat[self.offsets[place] : self.offsets[place + 1]]

    def __iter__(self) -> Iterator[np.ndarray]:
        ends = self.offsets.tolist()
        return (self.flat[begin:end] for begin, end in itertools.pairwise(ends))

    @property
    def sizes(self) -> np.ndarray:
        """Returns the length of each array: int64 [arrays]."""
        return np.diff(self.offsets)

    @property
    def owners(self) -> np.ndarray:
        """Returns, for each element of `flat`, the position of its array: int64 [n]."""
        return np.repeat(np.arange(len(self)), self.sizes)

    def select(self, places: np.ndarray) -> Ragged:
        """Returns the arrays at `places` [m], in that order."""
        chosen = Ragged.of_sizes(self.flat, self.sizes[places])
        shifts = np.repeat(self.offsets[:-1][places] - chosen.offsets[:-1], chosen.sizes)
        return Ragged(self.flat[np.arange(chosen.offsets[-1]) + shifts], chosen.offsets)

    def ascending(self) -> Ragged:
        """Returns the arrays, each with its elements in ascending order."""
        owners = self.owners
        if not np.any((self.flat[1:] < self.flat[:-1]) & (owners[1:] == owners[:-1])):
            return self
        return Ragged(self.flat[np.lexsort((self.flat, owners))], self.offsets)


class Names(Sequence[str]):
    """Names in one array [n] of texts or integers, which are named by their digits. Equal to a tuple of the same texts."""

    def __init__(self, values: np.ndarray):
        assert values.ndim == 1 and values.dtype.kind in "iuU", values.dtype
        self.values = values

    @classmethod
    def of(cls, values: np.ndarray) -> Sequence[str]:
        """Returns the texts of `values` [n]: a tuple if they are neither texts nor integers."""
        return cls(values) if values.dtype.kind in "iuU" else tuple(str(value) for value in values)

    def __len__(self) -> int:
        return len(self.values)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> Names: ...
    def __getitem__(self, place: int | slice) -> str | Names:
        return Names(self.values[place]) if isinstance(place, slice) else str(self.values[place])

    def __iter__(self) -> Iterator[str]:
        return map(str, self.values.tolist())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, (Names, tuple, list)) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return f"Names({self.values!r})"


def sizes_of(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the length of each array: int64 [arrays]."""
    return arrays.sizes if isinstance(arrays, Ragged) else np.array([len(array) for array in arrays], np.int64)


def flat_of(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the elements of all arrays, one array after another; int64 [0] for no array."""
    return arrays.flat if isinstance(arrays, Ragged) else np.concatenate([np.zeros(0, np.int64), *arrays])


def chosen(items: Sequence[Any], places: np.ndarray) -> Sequence[Any]:
    """Returns the items at `places` [m] of arrays or names, in that order, in one array where `items` are."""
    if isinstance(items, Ragged):
        return items.select(places)
    return Names(items.values[places]) if isinstance(items, Names) else tuple(items[p] for p in places.tolist())


def joined(first: Sequence[Any], second: Sequence[Any]) -> Sequence[Any]:
    """Returns the items of both, in one array where both are of one type."""
    if isinstance(first, Ragged) and isinstance(second, Ragged) and first.flat.dtype == second.flat.dtype:
        return Ragged(np.concatenate([first.flat, second.flat]), np.append(first.offsets, first.offsets[-1] + second.offsets[1:]))
    if isinstance(first, Names) and isinstance(second, Names) and first.values.dtype.kind == second.values.dtype.kind:
        return Names(np.concatenate([first.values, second.values]))
    return (*first, *second)


def grouped(values: np.ndarray) -> tuple[np.ndarray, Ragged]:
    """Returns the different `values` [n] in ascending order, and of each its positions in ascending order, as int64."""
    order = np.argsort(values, kind="stable").astype(np.int64)
    ordered = values[order]
    begins = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])) if len(values) else np.zeros(0, np.int64)
    return ordered[begins], Ragged(order, np.append(begins, len(values)))
