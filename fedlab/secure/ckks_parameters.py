"""CKKS parameters of a sum: the cheapest ones that reach its precision at 128-bit security.

A ciphertext of degree N contains N/2 numbers and has 2 · N · (bits of the modulus) bits. Its modulus must fit the scaled sum:
bits = log2(clients · largest value · scale) + 2, of which one is the sign and one is spare. TenSEAL needs one more prime for
keys; no ciphertext carries it. Security limits the total bits of all primes (`MOST_BITS`).

A decrypted sum has noise of standard deviation σ · √(N/2 · clients) / scale, where a fresh ciphertext's σ is 3.4 under the
secret key and √(N/18 + 3.4²) under the public key. `NOISE_BOUND` standard deviations must fit into half the precision; rounding
the decrypted sum takes the other half. The noise of a value exceeds that with probability at most 5e-11 (docs/security.md has
the derivation). Measured with TenSEAL 0.3.18 at degrees of 2,048 to 32,768: 3.2 to 3.4, and within 6 % of √(N/18).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal

from fedlab.errors import ConfigError

Encryption = Literal["symmetric", "public_key"]

# Homomorphic Encryption Standard (2018), table 1: ternary secret, 128 bits, classical; SEAL enforces the same
MOST_BITS = {1024: 27, 2048: 54, 4096: 109, 8192: 218, 16384: 438, 32768: 881}
MOST_PRIME_BITS = 60
KEY_PRIME_BITS = 20
# Standard deviations that the noise of a value exceeds with probability at most 5e-11. The noise is close to Gaussian under the
# secret key, close to a Laplace distribution under the public key
NOISE_BOUND = {"symmetric": 7, "public_key": 20}
# Decoding uses float64: the largest allowed ratio of largest value to precision, with a margin for the transform
MOST_RANGE = 2.0**46


@dataclasses.dataclass(frozen=True)
class Parameters:
    """Parameters of TenSEAL's context. `scale_bits`: log2 of the scale."""

    poly_modulus_degree: int
    coeff_mod_bit_sizes: tuple[int, ...]
    scale_bits: float
    encryption: Encryption

    @property
    def num_slots(self) -> int:
        """The count of numbers in one ciphertext."""
        return self.poly_modulus_degree // 2

    @property
    def modulus_bits(self) -> int:
        """The bits of a ciphertext's modulus: all primes except the last."""
        return sum(self.coeff_mod_bit_sizes[:-1])

    def num_ciphertexts(self, num_values: int) -> int:
        return -(-num_values // self.num_slots)

    def noise(self, num_clients: int) -> float:
        """Returns the error of a decrypted value, before rounding, that is exceeded with probability at most 5e-11."""
        return self.noise_std(num_clients) * NOISE_BOUND[self.encryption]

    def noise_std(self, num_clients: int) -> float:
        """Returns the standard deviation of that error."""
        return _noise_std(self.poly_modulus_degree, num_clients, self.encryption) / 2**self.scale_bits


def cheapest(precision: float, largest: float, num_clients: int, encryption: Encryption) -> Parameters:
    """Returns the sufficient parameters of lowest degree. `largest`: magnitude of a client's value. Raises `ConfigError`."""
    _check_range(precision, largest, num_clients)
    for degree, most in MOST_BITS.items():
        noise = NOISE_BOUND[encryption] * _noise_std(degree, num_clients, encryption)
        scale_bits = math.ceil(math.log2(2 * noise / precision))
        bits = math.ceil(_needed_bits(largest, num_clients, scale_bits))
        num_primes = -(-bits // MOST_PRIME_BITS)
        each = max(-(-bits // num_primes), KEY_PRIME_BITS)
        if num_primes * each + KEY_PRIME_BITS <= most and scale_bits > 0:
            return Parameters(degree, (each,) * num_primes + (KEY_PRIME_BITS,), scale_bits, encryption)
    raise ConfigError(
        f"no CKKS parameters of 128-bit security sum {num_clients} clients within ±{largest:g} to a precision of {precision:g}: "
        "raise secure.precision or lower secure.clip_range."
    )


def chosen(
    degree: int,
    bit_sizes: Sequence[int],
    global_scale: float,
    precision: float,
    largest: float,
    num_clients: int,
    encryption: Encryption,
) -> Parameters:
    """Returns the user's own parameters. Raises `ConfigError` if they are weak, overflow, or miss the precision."""
    _check_range(precision, largest, num_clients)
    if degree not in MOST_BITS:
        raise ConfigError(f"secure.poly_modulus_degree={degree}: choose one of {', '.join(map(str, MOST_BITS))}.")
    least_bits = int(math.log2(degree)) + 3  # with fewer bits there are no primes for this degree
    if len(bit_sizes) < 2 or not all(least_bits <= b <= MOST_PRIME_BITS for b in bit_sizes):
        raise ConfigError(
            f"secure.coeff_mod_bit_sizes={list(bit_sizes)}: at degree {degree} give two sizes or more, each {least_bits} to "
            f"{MOST_PRIME_BITS} bits."
        )
    if sum(bit_sizes) > MOST_BITS[degree]:
        advice = next((d for d, most in MOST_BITS.items() if sum(bit_sizes) <= most), None)
        raise ConfigError(
            f"secure.coeff_mod_bit_sizes={list(bit_sizes)} add up to {sum(bit_sizes)} bits, but degree {degree} is safe at "
            f"128 bits with at most {MOST_BITS[degree]}: use fewer bits{f' or poly_modulus_degree={advice}' if advice else ''}."
        )
    parameters = Parameters(degree, tuple(bit_sizes), math.log2(global_scale), encryption)
    if _needed_bits(largest, num_clients, parameters.scale_bits) > parameters.modulus_bits:
        raise ConfigError(
            f"secure.coeff_mod_bit_sizes={list(bit_sizes)} leave {parameters.modulus_bits} bits for the sum of {num_clients} "
            f"clients within ±{largest:g} at scale 2^{parameters.scale_bits:g}, which takes "
            f"{math.ceil(_needed_bits(largest, num_clients, parameters.scale_bits))}: lower global_scale or clip_range."
        )
    if 2 * parameters.noise(num_clients) > precision:
        raise ConfigError(
            f"secure.global_scale=2^{parameters.scale_bits:g} at degree {degree} reaches a precision of "
            f"{2 * parameters.noise(num_clients):.1g} for {num_clients} clients, secure.precision={precision:g} is asked for: "
            "raise either, or leave the parameters out."
        )
    return parameters


def _check_range(precision: float, largest: float, num_clients: int) -> None:
    if num_clients * largest / precision > MOST_RANGE:
        raise ConfigError(
            f"the sum of {num_clients} clients within ±{largest:g} cannot be decrypted to a precision of {precision:g}, which is "
            f"beyond float64: raise secure.precision or lower secure.clip_range (for integers: the bound of the tensor)."
        )


def _needed_bits(largest: float, num_clients: int, scale_bits: float) -> float:
    return math.log2(num_clients * largest) + scale_bits + 2


def _noise_std(degree: int, num_clients: int, encryption: Encryption) -> float:
    """Returns the standard deviation of the noise in units of 1 / scale."""
    fresh = 3.4 if encryption == "symmetric" else math.sqrt(degree / 18 + 3.4**2)
    return fresh * math.sqrt(degree / 2 * num_clients)
