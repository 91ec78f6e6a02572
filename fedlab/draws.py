"""The first draws of many generators at once: of `randomness.generator(seed, purpose, n)` for each n of an array, to the bit.

To build a generator takes 10 µs, which is long for a million clients. This module computes on arrays what NumPy computes for one:
`SeedSequence` (O'Neill 2015, "Developing a seed_seq alternative"), PCG64 (O'Neill 2014: XSL-RR 128/64), and a shuffle
(Durstenfeld 1964), whose indices are random bits under a mask, drawn again where they are too large.
"""

from __future__ import annotations

import dataclasses
import itertools
import zlib

import numpy as np

from fedlab.randomness import generator

_POOL = 4  # words of a SeedSequence
_INIT_A, _MULT_A, _INIT_B, _MULT_B = 0x43B0D7E5, 0x931E8875, 0x8B51F9DD, 0x58F38DED
_MIX_L, _MIX_R = np.uint32(0xCA01F9DD), np.uint32(0x4973F715)
_MULTIPLIER = (0x2360ED051FC65DA4, 0x4385DF649FCCF645)  # of PCG64: high and low half
_FEW = 10  # generators per element of a permutation: fewer are not slower one by one
_MOST = 1 << 21  # elements of permutations that are shuffled at a time
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)


def uniforms(seed: int, purpose: str, numbers: np.ndarray) -> np.ndarray:
    """Returns `generator(seed, purpose, n).random()` for each n of `numbers`, non-negative integers [m]: float64 [m]."""
    found = np.empty(len(numbers))
    for places in _alike(numbers):
        found[places] = (_Streams.of(seed, purpose, numbers[places]).next() >> np.uint64(11)) * 2.0**-53
    return found


def permutations(seed: int, purpose: str, numbers: np.ndarray, size: int) -> np.ndarray:
    """Returns `generator(seed, purpose, n).permutation(size)` for each n of `numbers` [m], as `uniforms`: int64 [m, size]."""
    if len(numbers) < _FEW * size:
        each = [generator(seed, purpose, n).permutation(size) for n in numbers.tolist()]
        return np.array(each, np.int64).reshape(len(numbers), size)
    found = np.tile(np.arange(size), (len(numbers), 1))
    for places in _alike(numbers):
        for some in np.array_split(places, -(-len(places) * size // _MOST)):
            found[some] = _shuffled(found[some], _Streams.of(seed, purpose, numbers[some]))
    return found


def _shuffled(rows: np.ndarray, streams: _Streams) -> np.ndarray:
    """Shuffles each of `rows` [m, size] in place, by the draws of its stream; returns `rows`."""
    halves = np.stack(streams.halves(), 1)  # 32 random bits each
    used, everybody = np.zeros(len(rows), np.int64), np.arange(len(rows))
    for last in range(rows.shape[1] - 1, 0, -1):
        mask = np.uint64((1 << last.bit_length()) - 1)
        other, pending = np.empty(len(rows), np.int64), everybody
        while len(pending):  # a draw above `last` is repeated
            if used[pending].max() >= halves.shape[1]:
                halves = np.concatenate([halves, np.stack(streams.halves(), 1)], 1)
            drawn = (halves[pending, used[pending]] & mask).astype(np.int64)
            used[pending] += 1
            other[pending] = drawn
            pending = pending[drawn > last]
        rows[everybody, other], rows[:, last] = rows[:, last].copy(), rows[everybody, other]
    return rows


def _alike(numbers: np.ndarray) -> list[np.ndarray]:
    """Returns the positions of the numbers of one word of 32 bits, and of two: seeds of different lengths."""
    is_long = numbers.astype(np.uint64) > _LOW
    return [places for places in (np.flatnonzero(~is_long), np.flatnonzero(is_long)) if len(places)]


@dataclasses.dataclass
class _Streams:
    """Generators PCG64, whose states and increments are halves of 128 bits: uint64 [m] each."""

    high: np.ndarray
    low: np.ndarray
    increment: tuple[np.ndarray, np.ndarray]

    @classmethod
    def of(cls, seed: int, purpose: str, numbers: np.ndarray) -> _Streams:
        """Seeds a stream for each of `numbers`, which have equally many words of 32 bits."""
        fixed = [np.full(len(numbers), word, np.uint32) for word in (*_words(seed), zlib.crc32(purpose.encode()))]
        long = numbers.astype(np.uint64)
        words = [long & _LOW, long >> _HALF] if long[0] > _LOW else [long]
        high, low, inc_high, inc_low = _generated(_mixed([*fixed, *(word.astype(np.uint32) for word in words)]))
        one = np.uint64(1)
        increment = (inc_high << one) | (inc_low >> np.uint64(63)), (inc_low << one) | one
        streams = cls(np.zeros_like(high), np.zeros_like(low), increment)
        streams._step()
        streams.high, streams.low = _sum(streams.high, streams.low, high, low)
        streams._step()
        return streams

    def next(self) -> np.ndarray:
        """Returns the next 64 random bits of each stream: uint64 [m]."""
        self._step()
        mixed, turn = self.high ^ self.low, self.high >> np.uint64(58)
        return (mixed >> turn) | (mixed << ((np.uint64(64) - turn) & np.uint64(63)))

    def halves(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the next 64 random bits of each stream in the halves that NumPy uses one after the other: uint64 [m] each."""
        word = self.next()
        return word & _LOW, word >> _HALF

    def _step(self) -> None:
        times_high, times_low = (np.uint64(half) for half in _MULTIPLIER)
        (a, b), (c, d) = ((x & _LOW, x >> _HALF) for x in (self.low, times_low))
        middle = (a * c >> _HALF) + (a * d & _LOW) + (b * c & _LOW)
        carried = b * d + (a * d >> _HALF) + (b * c >> _HALF) + (middle >> _HALF)
        high = carried + self.high * times_low + self.low * times_high
        self.high, self.low = _sum(high, np.bitwise_or(a * c & _LOW, middle << _HALF), *self.increment)


def _sum(high: np.ndarray, low: np.ndarray, more_high: np.ndarray, more_low: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the halves of a sum of 128 bits."""
    total = low + more_low
    return high + more_high + (total < low), total


def _words(seed: int) -> list[int]:
    """Returns the words of 32 bits of a non-negative integer, the lowest first; at least one."""
    return [seed >> shift & 0xFFFFFFFF for shift in range(0, max(seed.bit_length(), 1), 32)]


def _mixed(entropy: list[np.ndarray]) -> list[np.ndarray]:
    """Returns the pool of a SeedSequence: `_POOL` arrays uint32 [m]."""
    constant = _INIT_A

    def hashed(value: np.ndarray) -> np.ndarray:
        nonlocal constant
        value = value ^ np.uint32(constant)
        constant = constant * _MULT_A & 0xFFFFFFFF
        value = value * np.uint32(constant)
        return value ^ value >> np.uint32(16)

    def mix(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        mixed = _MIX_L * x - _MIX_R * y
        return mixed ^ mixed >> np.uint32(16)

    zero = np.zeros_like(entropy[0])
    pool = [hashed(entropy[i] if i < len(entropy) else zero) for i in range(_POOL)]
    for source, target in itertools.product(range(_POOL), range(_POOL)):
        if source != target:
            pool[target] = mix(pool[target], hashed(pool[source]))
    for word, target in itertools.product(entropy[_POOL:], range(_POOL)):
        pool[target] = mix(pool[target], hashed(word))
    return pool


def _generated(pool: list[np.ndarray]) -> list[np.ndarray]:
    """Returns the four words uint64 [m] with which PCG64 is seeded."""
    constant, words = _INIT_B, []
    for i in range(8):
        value = pool[i % _POOL] ^ np.uint32(constant)
        constant = constant * _MULT_B & 0xFFFFFFFF
        value = value * np.uint32(constant)
        words.append((value ^ value >> np.uint32(16)).astype(np.uint64))
    return [low | high << _HALF for low, high in zip(words[::2], words[1::2])]
