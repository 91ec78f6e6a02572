"""Secret sharing (Shamir 1979) over the integers modulo a prime: `threshold` shares give the secret, fewer reveal nothing."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence

PRIME = 2**256 + 297  # the smallest prime above every secret of 32 bytes
SECRET_BYTES, SHARE_BYTES = 32, 33

Draw = Callable[[int], bytes]  # returns the given number of random bytes, such as os.urandom


def split(secret: bytes, points: Sequence[int], threshold: int, draw: Draw) -> dict[int, bytes]:
    """Returns {point: share} for positive, distinct points. The polynomial has `threshold` coefficients."""
    assert len(secret) == SECRET_BYTES and 1 <= threshold <= len(points) and all(0 < p < PRIME for p in points)
    # 64 bytes for each: the reduction modulo the prime biases a coefficient by less than 2⁻²⁵⁵
    coefficients = [int.from_bytes(draw(64), "big") % PRIME for _ in range(threshold - 1)]
    coefficients.append(int.from_bytes(secret, "big"))
    shares = {}
    for point in points:
        value = 0
        for coefficient in coefficients:
            value = value * point + coefficient  # points are small: one division at the end is cheaper than one per step
        shares[point] = (value % PRIME).to_bytes(SHARE_BYTES, "big")
    return shares


def combine(shares: Mapping[int, bytes], threshold: int) -> bytes:
    """Returns the secret, from at least `threshold` of its shares. Wrong shares give a wrong secret, not an error."""
    assert len(shares) >= threshold
    points = tuple(sorted(shares))[:threshold]
    weighted = (w * int.from_bytes(shares[p], "big") for p, w in zip(points, _weights_at_zero(points)))
    return (sum(weighted) % PRIME % 2**256).to_bytes(SECRET_BYTES, "big")


@functools.lru_cache(maxsize=256)  # most secrets of a round are rebuilt from the shares of the same survivors
def _weights_at_zero(points: tuple[int, ...]) -> tuple[int, ...]:
    """Returns the Lagrange weights: the polynomial at 0 is the sum of weight · share."""
    weights = []
    for p in points:
        above = below = 1
        for q in points:
            if q != p:
                above, below = above * q % PRIME, below * (q - p) % PRIME
        weights.append(above * pow(below, -1, PRIME) % PRIME)
    return tuple(weights)
