"""Fixed-point numbers modulo 2^k: encodes contributions as words that wrap around and still have an exact sum.

A float x is sent as x · 2^f, rounded to an integer; an integer is sent unchanged; both in two's complement in words of k bits.
With n clients of at most B each, |sum| ≤ n · B < 2^(k − 1), so the sum never overflows, although masked words wrap around.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from fedlab.errors import ConfigError
from fedlab.secure.layout import Layout, bounded, widened

OutOfRange = Literal["refuse", "saturate"]
Rounding = Literal["nearest", "toward_zero"]
ALIGNMENT = 16  # bytes: one block of the stream cipher, so that each part of a buffer begins with a block
SIGNED = {32: np.int32, 64: np.int64}


@dataclasses.dataclass(frozen=True)
class _Place:
    """The position of one tensor in the buffer, and the format of its numbers."""

    bits: int
    start: int  # bytes
    fractional_bits: int


class Encoding:
    """Encodes contributions as byte buffers: all 64-bit words first, then all 32-bit words.

    `bits`: the word size of floats. Integers use 32 bits if `most_clients` times their bound fits, else 64.
    `fractional_bits=None` uses as many as fit. Raises `ConfigError` if a sum could overflow.
    """

    def __init__(
        self,
        layout: Layout,
        most_clients: int,
        bits: int = 64,
        clip_range: float = 2.0**16,
        fractional_bits: int | None = None,
        out_of_range: OutOfRange = "refuse",
        rounding: Rounding = "nearest",
    ):
        self.layout, self.bits, self.clip_range, self.out_of_range = layout, bits, widened(clip_range), out_of_range
        self._round = np.rint if rounding == "nearest" else np.trunc
        most = most_fractional_bits(most_clients, bits, self.clip_range)
        if most < 0 or (fractional_bits or 0) > most:
            wanted = 0 if fractional_bits is None else fractional_bits
            advice = "secure.bits=64, " if bits == 32 else ""
            advice += f"secure.fractional_bits={most} or fewer, " if most >= 0 else ""
            raise ConfigError(
                f"the sum of {most_clients} clients within ±{clip_range:g} with {wanted} fractional bits overflows {bits} "
                f"bits: set {advice}or a smaller secure.clip_range."
            )
        self.fractional_bits = most if fractional_bits is None else fractional_bits
        words = [bits if t.is_float else _integer_bits(t.largest_integer, most_clients) for t in layout.tensors]
        sizes = {b: _aligned(sum(t.size for t, w in zip(layout.tensors, words) if w == b) * b // 8) for b in SIGNED}
        self.split, self.num_bytes = sizes[64], sizes[64] + sizes[32]  # words of 32 bits begin at `split`
        ends = {64: 0, 32: self.split}
        self._places = []
        for tensor, word in zip(layout.tensors, words):
            self._places.append(_Place(word, ends[word], self.fractional_bits if tensor.is_float else 0))
            ends[word] += tensor.size * word // 8

    @property
    def step(self) -> float:
        """The distance between neighbouring encoded floats. Rounding to nearest changes a value by at most half of it, rounding
        toward zero by less than all of it."""
        return 2.0**-self.fractional_bits

    def zeros(self) -> np.ndarray:
        return np.zeros(self.num_bytes, np.uint8)

    def encode(self, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, int]:
        """Returns uint8 [num_bytes] and the count of clipped values. Raises `ContributionError`."""
        self.layout.check(arrays)
        buffer, clipped = self.zeros(), 0
        for array, tensor, place in zip(arrays, self.layout.tensors, self._places):
            bound = self.clip_range if tensor.is_float else tensor.largest_integer
            whole, beyond = bounded(np.asarray(array).reshape(-1), bound, self.out_of_range)
            if tensor.is_float:
                whole = np.multiply(whole, 2.0**place.fractional_bits, dtype=np.float64)
                self._round(whole, out=whole)
            np.copyto(self._signed(buffer, place, tensor.size), whole, casting="unsafe")
            clipped += beyond
        return buffer, clipped

    def integers(self, buffer: np.ndarray) -> list[np.ndarray]:
        """Returns the words as signed integers: int64 arrays."""
        return [
            self._signed(buffer, place, tensor.size).astype(np.int64).reshape(tensor.shape)
            for tensor, place in zip(self.layout.tensors, self._places)
        ]

    def decode(self, buffer: np.ndarray) -> list[np.ndarray]:
        """Returns floats in the type of the layout, integers as int64."""
        return [
            (whole * 2.0**-place.fractional_bits).astype(tensor.dtype) if tensor.is_float else whole
            for whole, tensor, place in zip(self.integers(buffer), self.layout.tensors, self._places)
        ]

    def add(self, total: np.ndarray, buffer: np.ndarray) -> None:
        """Adds `buffer` to `total` in place, word by word, with wrap-around."""
        for part, word in ((slice(0, self.split), np.uint64), (slice(self.split, None), np.uint32)):
            view = total[part].view(word)
            np.add(view, buffer[part].view(word), out=view)

    def _signed(self, buffer: np.ndarray, place: _Place, size: int) -> np.ndarray:
        return buffer[place.start : place.start + size * place.bits // 8].view(SIGNED[place.bits])


def most_fractional_bits(most_clients: int, bits: int, clip_range: float) -> int:
    """Returns the largest f with n · ⌈clip · 2^f⌉ < 2^(bits − 1); negative if even whole numbers overflow."""
    f = math.ceil(bits - math.log2(max(most_clients, 1) * clip_range))
    while max(most_clients, 1) * math.ceil(clip_range * 2.0**f) >= 2 ** (bits - 1):
        f -= 1
    return f


def _integer_bits(bound: int, most_clients: int) -> int:
    for bits in SIGNED:
        if max(most_clients, 1) * bound < 2 ** (bits - 1):
            return bits
    raise ConfigError(
        f"the sum of {most_clients} clients' integers of up to {bound:,} overflows 64 bits: give the tensor a bound."
    )


def _aligned(num_bytes: int) -> int:
    return -(-num_bytes // ALIGNMENT) * ALIGNMENT
