"""Everything random is a function of (run seed, purpose, round, client, …): nothing depends on what was drawn before."""

from __future__ import annotations

import zlib

import numpy as np


def _entropy(seed: int, purpose: str, path: tuple[int, ...]) -> list[int]:
    if seed < 0 or any(p < 0 for p in path):
        raise ValueError(f"seed and path must be non-negative integers, got {seed} and {path}")
    return [seed, zlib.crc32(purpose.encode()), *path]


def generator(seed: int, purpose: str, *path: int) -> np.random.Generator:
    """A numpy generator of its own for each (seed, purpose, path), e.g. `generator(0, "visiting order", round, client)`."""
    return np.random.default_rng(_entropy(seed, purpose, path))


def key(seed: int, purpose: str, *path: int) -> np.ndarray:
    """The same as an int64 [2] key for TensorFlow's stateless random ops."""
    return np.random.SeedSequence(_entropy(seed, purpose, path)).generate_state(2, np.uint64).astype(np.int64)
