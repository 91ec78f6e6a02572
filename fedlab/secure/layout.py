"""The layout of a client's contribution: a list of tensors with shapes, types and bounds that are agreed before round 1."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from fedlab.errors import ConfigError, FedlabError


class ContributionError(FedlabError):
    """A client's values cannot be summed: their shape or type is not the agreed one, or they are not finite or out of range."""


@dataclasses.dataclass(frozen=True)
class Tensor:
    """One tensor of a contribution. `bound`: the largest magnitude of a client's integers (default: that of the type); None for
    floats."""

    shape: tuple[int, ...]
    dtype: np.dtype
    bound: int | None = None

    def __post_init__(self) -> None:
        if self.dtype.kind not in "fiu":
            raise ConfigError(f"a secure sum takes floats and integers, got {self.dtype}: convert the values first.")
        if self.bound is not None and (self.is_float or self.bound < 0):
            raise ConfigError(f"bound={self.bound} for {self.dtype}: only integers have a bound, and it must not be negative.")

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def is_float(self) -> bool:
        return self.dtype.kind == "f"

    @property
    def largest_integer(self) -> int:
        """The largest magnitude that one client's integer may have."""
        if self.bound is not None:
            return self.bound
        limits = np.iinfo(self.dtype)
        return max(-int(limits.min), int(limits.max))


@dataclasses.dataclass(frozen=True)
class Layout:
    """The tensors of every client's contribution, in order."""

    tensors: tuple[Tensor, ...]

    @classmethod
    def of(cls, arrays: Sequence[np.ndarray], bounds: Sequence[int | None] | None = None) -> Layout:
        """Returns the layout of arrays like these. `bounds`: one for each array, None for floats."""
        bounds = [None] * len(arrays) if bounds is None else bounds
        assert len(bounds) == len(arrays)
        return cls(tuple(Tensor(np.shape(a), np.asarray(a).dtype, b) for a, b in zip(arrays, bounds)))

    @property
    def size(self) -> int:
        """The count of numbers in a contribution."""
        return sum(t.size for t in self.tensors)

    def check(self, arrays: Sequence[np.ndarray]) -> None:
        """Raises `ContributionError` if the arrays do not have the agreed shapes and types."""
        given = [(np.shape(a), np.asarray(a).dtype) for a in arrays]
        agreed = [(t.shape, t.dtype) for t in self.tensors]
        if given != agreed:
            raise ContributionError(f"a contribution has {_listed(given)}; the agreed layout is {_listed(agreed)}.")

    def zeros(self) -> list[np.ndarray]:
        """Returns the sum of no contributions."""
        return [np.zeros(t.shape, t.dtype if t.is_float else np.int64) for t in self.tensors]


def widened(clip_range: float) -> float:
    """Returns the larger of the bound and its nearest float32, so that values clipped to 7.3 in float32 stay within."""
    return max(clip_range, float(np.float32(clip_range)))


def bounded(values: np.ndarray, bound: float, out_of_range: str) -> tuple[np.ndarray, int]:
    """Returns values of magnitude at most `bound`, and the count of values beyond it: "refuse" raises, "saturate" clips them.

    Always raises `ContributionError` for NaN and infinity. Errors do not show the values, because they are one client's.
    """
    if not values.size:
        return values, 0
    lowest = 0 if values.dtype.kind == "u" else -bound
    low, high = values.min(), values.max()
    if lowest <= low and high <= bound:
        return values, 0
    if not np.all(np.isfinite(values)):
        raise ContributionError(
            "a client's contribution has values that are not finite: leave out such a client, or lower its learning rate."
        )
    beyond = int(np.count_nonzero((values < lowest) | (values > bound)))
    if out_of_range == "refuse":
        raise ContributionError(
            f"a client's contribution has values beyond ±{bound:.6g}: raise secure.clip_range (for integers: the bound of the "
            "tensor), clip updates first (aggregator=robust), or set secure.out_of_range=saturate."
        )
    return np.clip(values, lowest, bound), beyond


def _listed(tensors: Sequence[tuple[tuple[int, ...], np.dtype]]) -> str:
    shown = ", ".join(f"{dtype}{list(shape)}" for shape, dtype in tensors[:4])
    return f"{len(tensors)} tensors ({shown}{', …' if len(tensors) > 4 else ''})"
