"""Estimates the cost of encryption before training: sizes from a real ciphertext, seconds from a measurement."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from fedlab.secure.ckks import Ciphertexts, Ckks, CkksServer, Encryptor, KeyHolder
from fedlab.secure.ckks_parameters import Parameters

Result = TypeVar("Result")
TRIALS = 5


@dataclasses.dataclass(frozen=True)
class HeCost:
    """The cost of encrypted sums. Megabytes are 10⁶ bytes; seconds are those of one core."""

    parameters: Parameters
    num_values: int
    num_clients: int
    num_ciphertexts: int  # per contribution
    megabytes_per_client: float  # up
    megabytes_up: float  # per round: all clients' ciphertexts, and the decrypted sum from the key holder
    megabytes_down: float  # per round: the encrypted sum, to the key holder
    precision: float  # the largest error of a value of the sum
    noise: float  # the encryption's part of it
    seconds_encrypt: float  # per client
    seconds_add: float  # per round, on the server
    seconds_decrypt: float  # per round

    def text(self) -> str:
        """Returns one line per figure."""
        p = self.parameters
        plain = self.num_values * 4e-6
        return "\n".join(
            [
                f"parameters        degree {p.poly_modulus_degree:,}, primes {list(p.coeff_mod_bit_sizes)} bits, "
                f"scale 2^{p.scale_bits:g}, {p.encryption.replace('_', ' ')}, 128-bit security",
                f"slots             {p.num_slots:,} values per ciphertext",
                f"ciphertexts       {self.num_ciphertexts:,} per client, for {self.num_values:,} values",
                f"upload            {self.megabytes_per_client:,.2f} MB per client, "
                f"{self.megabytes_per_client / plain:.1f} times float32",
                f"round, up         {self.megabytes_up:,.2f} MB from {self.num_clients:,} clients and the key holder",
                f"round, down       {self.megabytes_down:,.2f} MB to the key holder",
                f"precision         {self.precision:.1e}, exceeded by a value of the sum with probability 5e-11 "
                f"(noise {self.noise:.1e}, the rest rounding)",
                f"encryption        {self.seconds_encrypt:,.2f} s per client on one core",
                f"addition          {self.seconds_add:,.2f} s per round",
                f"decryption        {self.seconds_decrypt:,.2f} s per round",
            ]
        )


def he_cost(num_values: int, num_clients: int, spec: Ckks) -> HeCost:
    """Encrypts, adds and decrypts one full ciphertext `TRIALS` times and extrapolates. `num_values`: floats per contribution.

    Raises `ConfigError` for insufficient parameters.
    """
    parameters = spec.parameters(spec.clip_range, num_clients)
    holder = KeyHolder(parameters)
    encryptor, server = Encryptor(holder.client_context()), CkksServer(holder.public_context())
    row = np.random.default_rng(0).uniform(-1, 1, (1, parameters.num_slots))
    ciphertexts, encrypt = _fastest(lambda: Ciphertexts(tuple(encryptor(row))))
    _, add = _fastest(lambda: server.receive(ciphertexts))
    _, decrypt = _fastest(lambda: holder.decrypt(ciphertexts.ciphertext, spec.precision))
    count = parameters.num_ciphertexts(num_values)
    per_client = count * len(ciphertexts.ciphertext[0]) / 1e6
    return HeCost(
        parameters=parameters,
        num_values=num_values,
        num_clients=num_clients,
        num_ciphertexts=count,
        megabytes_per_client=per_client,
        megabytes_up=num_clients * per_client + count * parameters.num_slots * 8 / 1e6,
        megabytes_down=per_client,
        precision=spec.precision,
        noise=parameters.noise(num_clients),
        seconds_encrypt=count * encrypt,
        seconds_add=count * num_clients * add,
        seconds_decrypt=count * decrypt,
    )


def _fastest(work: Callable[[], Result]) -> tuple[Result, float]:
    """Returns the last result and the least seconds of `TRIALS` trials."""
    seconds = []
    for _ in range(TRIALS):
        start = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - start)
    return result, min(seconds)
