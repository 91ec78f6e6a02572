"""Random draws as functions of (source, purpose, round, client, …): no draw depends on earlier draws.

The source is the run's seed, or a `Secret` if privacy requires that nobody can repeat a draw.
"""

from __future__ import annotations

import hashlib
import secrets
import zlib

import numpy as np

_BYTES = 32


class Secret(int):
    """256 secret bits instead of a seed. It is an integer, so that it can replace a seed; its text does not reveal it.

    Draws are a pseudorandom function of it, keyed BLAKE2b of (purpose, path): knowing some draws does not reveal others.
    """

    @classmethod
    def fresh(cls) -> Secret:
        """Returns a new secret from the operating system."""
        return cls.from_bytes(secrets.token_bytes(_BYTES), "big")

    @property
    def key(self) -> bytes:
        """The 32 bytes."""
        return self.to_bytes(_BYTES, "big")

    @property
    def identity(self) -> str:
        """16 hexadecimal digits that identify the secret without revealing its draws."""
        return self.bytes_for(8, "identity").hex()

    def derived(self, purpose: str, *path: int) -> Secret:
        """Returns a separate secret for each (purpose, path), from which this one cannot be computed."""
        return Secret.from_bytes(self.bytes_for(_BYTES, f"derived {purpose}", *path), "big")

    def bytes_for(self, count: int, purpose: str, *path: int) -> bytes:
        """Returns `count` (at most 64) pseudorandom bytes, independent for each (purpose, path)."""
        name = purpose.encode()
        message = b"".join([len(name).to_bytes(4, "big"), name, *(p.to_bytes(8, "big") for p in map(int, path))])
        return hashlib.blake2b(message, digest_size=count, key=self.key, person=b"fedlab draws").digest()

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__

    def __format__(self, _: str) -> str:
        return repr(self)


def _entropy(seed: int, purpose: str, path: tuple[int, ...]) -> list[int]:
    if seed < 0 or any(p < 0 for p in path):
        raise ValueError(f"seed and path must be non-negative integers, got {seed} and {path}")
    return [seed, zlib.crc32(purpose.encode()), *path]


def generator(seed: int, purpose: str, *path: int) -> np.random.Generator:
    """Returns a separate NumPy generator for each (seed, purpose, path), e.g. `generator(0, "visiting order", round, client)`.

    For a `Secret` it is Philox with a secret key of 128 bits and a secret counter of 256 bits.
    """
    if isinstance(seed, Secret):
        words = np.frombuffer(seed.bytes_for(48, purpose, *path), np.uint64)
        return np.random.Generator(np.random.Philox(key=words[:2], counter=words[2:]))
    return np.random.default_rng(_entropy(seed, purpose, path))


def key(seed: int, purpose: str, *path: int) -> np.ndarray:
    """Returns a separate int64 [2] key for TensorFlow's stateless random ops for each (seed, purpose, path)."""
    if isinstance(seed, Secret):
        return np.frombuffer(seed.bytes_for(16, purpose, *path), np.int64)
    return np.random.SeedSequence(_entropy(seed, purpose, path)).generate_state(2, np.uint64).astype(np.int64)
