"""Additively homomorphic encryption: CKKS (Cheon et al. 2017) by TenSEAL. The server adds ciphertexts that it cannot read.

One `KeyHolder` keeps the secret key for all clients; the `CkksServer` has a context of its own without it. Ciphertexts
travel between them as bytes. This is the only module that imports TenSEAL.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field, PositiveInt, model_validator

from fedlab import cores
from fedlab.secure.ckks_parameters import Encryption, Parameters, cheapest, chosen
from fedlab.secure.encoding import OutOfRange
from fedlab.secure.layout import Layout
from fedlab.secure.packing import Packing
from fedlab.secure.protocol import Contribution, Dropouts, Outcome, Protocol, SecureSum, pair
from fedlab.secure.transcript import Transcript
from fedlab.secure.workers import Workers
from fedlab.spec import Promise

FEW_CIPHERTEXTS = 32  # per contribution; up to this number, starting worker processes takes longer than they save


class Ckks(SecureSum):
    """Options of encrypted sums: the server sees ciphertexts and, from the key holder, the sum.

    CKKS parameters default to the cheapest ones that reach the precision.
    """

    name: ClassVar[str] = "ckks"
    # Not "same bits": encryption adds noise, and rounding after decryption leaves some of it in the last digits
    vouches: ClassVar[tuple[Promise, ...]] = ("privacy",)
    sums_whoever_stays: ClassVar[bool] = True

    precision: Annotated[float, Field(gt=0)] = 1e-6  # largest error of a value of the sum, exceeded with probability 5e-11
    clip_range: Annotated[float, Field(gt=0)] = 2.0**16  # floats beyond ± this are refused or clipped
    out_of_range: OutOfRange = "refuse"
    encryption: Encryption = "symmetric"  # public_key: clients cannot read each other's updates; slower and noisier
    poly_modulus_degree: int | None = None
    coeff_mod_bit_sizes: tuple[int, ...] | None = None
    global_scale: Annotated[float, Field(gt=1)] | None = None
    num_workers: PositiveInt | None = None  # processes that encrypt; None: one per core

    @model_validator(mode="after")
    def _all_parameters_or_none(self) -> Ckks:
        given = [self.poly_modulus_degree, self.coeff_mod_bit_sizes, self.global_scale]
        if None in given and given != [None] * 3:
            raise ValueError("poly_modulus_degree, coeff_mod_bit_sizes and global_scale go together: set all three or none")
        return self

    @property
    def largest_error(self) -> float:
        return self.precision

    @property
    def error_chance(self) -> float:
        return 5e-11  # the probability for one value: docs/security.md

    def parameters(self, largest: float, num_clients: int) -> Parameters:
        """Returns the parameters for a sum over `num_clients` clients' values within ± `largest`. Raises `ConfigError`."""
        if self.poly_modulus_degree is None or self.coeff_mod_bit_sizes is None or self.global_scale is None:
            return cheapest(self.precision, largest, num_clients, self.encryption)
        own = (self.poly_modulus_degree, self.coeff_mod_bit_sizes, self.global_scale)
        return chosen(*own, self.precision, largest, num_clients, self.encryption)

    @property
    def largest_float(self) -> float:
        return self.clip_range if self.scope == "everything" else math.inf

    def under_noise(self) -> Ckks:
        return self.model_copy(update={"out_of_range": "saturate"})

    def build(self, layout: Layout, most_clients: int, seed: int = 0, num_rounds: int | None = None) -> CkksSum:
        return CkksSum(self, layout, most_clients, seed, num_rounds)


@dataclasses.dataclass(frozen=True)
class PublicContext:
    """Key holder → server, once: parameters and, for the record, the public key."""

    context: bytes


@dataclasses.dataclass(frozen=True)
class Ciphertexts:
    """Client → server, and the sum from the server to the key holder: one byte string per ciphertext."""

    ciphertext: tuple[bytes, ...]


@dataclasses.dataclass(frozen=True)
class DecryptedSum:
    """Key holder → server: the decrypted sum, float64 [ciphertexts, slots]."""

    sum: np.ndarray


class Encryptor:
    """Encrypts for a client. `context`: bytes, with the secret key or with the public key only."""

    def __init__(self, context: bytes):
        import tenseal

        self._tenseal = tenseal
        self._context = tenseal.context_from(context)

    def __call__(self, rows: np.ndarray) -> list[bytes]:
        """Returns one ciphertext for each row of float64 [ciphertexts, slots]."""
        return [self._tenseal.ckks_vector(self._context, row).serialize() for row in rows]


class KeyHolder:
    """Makes the keys. It is the only party that can decrypt a sum."""

    def __init__(self, parameters: Parameters):
        import tenseal

        self._tenseal, self.parameters = tenseal, parameters
        kinds = tenseal.ENCRYPTION_TYPE
        self._context = tenseal.context(
            tenseal.SCHEME_TYPE.CKKS,
            poly_modulus_degree=parameters.poly_modulus_degree,
            coeff_mod_bit_sizes=list(parameters.coeff_mod_bit_sizes),
            encryption_type=kinds.SYMMETRIC if parameters.encryption == "symmetric" else kinds.ASYMMETRIC,
            n_threads=1,
        )
        self._context.global_scale = 2.0**parameters.scale_bits

    def public_context(self) -> bytes:
        """Returns the context without the secret key, and without the keys for products, which a sum does not need."""
        return self._serialized(secret=False)

    def client_context(self) -> bytes:
        """Returns the context that clients encrypt with: the secret key under symmetric encryption, else only the public key."""
        return self._serialized(secret=self.parameters.encryption == "symmetric")

    def decrypt(self, ciphertexts: Iterable[bytes], precision: float) -> np.ndarray:
        """Returns float64 [ciphertexts, slots], rounded to multiples of `precision`.

        An unrounded sum and its ciphertext give a linear equation in the secret key (Li and Micciancio 2021).
        """
        rows = [self._tenseal.ckks_vector_from(self._context, c).decrypt() for c in ciphertexts]
        return np.rint(np.array(rows) / precision) * precision

    def _serialized(self, secret: bool) -> bytes:
        return self._context.serialize(
            save_public_key=self.parameters.encryption == "public_key" and not secret,
            save_secret_key=secret,
            save_galois_keys=False,
            save_relin_keys=False,
        )


class CkksServer:
    """Adds ciphertexts under a context without the secret key."""

    def __init__(self, context: bytes):
        import tenseal

        self._tenseal = tenseal
        self._context = tenseal.context_from(context)
        self._sums: list = []

    def receive(self, message: Ciphertexts) -> None:
        vectors = [self._tenseal.ckks_vector_from(self._context, c) for c in message.ciphertext]
        if not self._sums:
            self._sums = vectors
            return
        for total, vector in zip(self._sums, vectors):
            total.add_(vector)

    def sum(self) -> Ciphertexts:
        """Returns the encrypted sum of the messages received since the last call; empty if there were none."""
        sums, self._sums = self._sums, []
        return Ciphertexts(tuple(s.serialize() for s in sums))


class CkksSum(Protocol):
    """Sums encrypted contributions, with keys made once for all rounds. Clients that vanish before their input are left out."""

    def __init__(self, spec: Ckks, layout: Layout, most_clients: int, seed: int, num_rounds: int | None):
        super().__init__(spec, layout, most_clients, seed, num_rounds)
        self.spec = spec
        self.packing = Packing(layout, spec.precision, spec.clip_range, spec.out_of_range)
        self.parameters = spec.parameters(self.packing.largest, most_clients)
        self._num_ciphertexts = self.parameters.num_ciphertexts(layout.size)
        self._parties: tuple[KeyHolder, CkksServer, Workers] | None = None

    def close(self) -> None:
        if self._parties is not None:
            self._parties[2].close()
            self._parties = None

    def _run(
        self,
        round: int,
        clients: tuple[int, ...],
        contributions: Iterable[Contribution],
        dropouts: Dropouts | None,
        transcript: Transcript,
    ) -> Outcome:
        gone = (self._draw_dropouts(clients, round) if dropouts is None else dropouts).without_input
        with transcript.phase("keys"):
            holder, server, workers = self._parties or self._set_up(transcript)
        included, num_clipped = [], 0
        for client, arrays in pair(clients, contributions):
            if client in gone:
                continue
            with transcript.phase("encrypt"):
                rows, clipped = self.packing.pack(arrays, self.parameters.num_slots)
                message = Ciphertexts(tuple(workers(rows)))
                transcript.up(client, message, contributes=True)
            with transcript.phase("add"):
                server.receive(message)
            included.append(client)
            num_clipped += clipped
        if not included:
            return Outcome(self.layout.zeros(), (), transcript.phases, server_view=transcript.view)
        with transcript.phase("add"):
            total = server.sum()
        with transcript.phase("decrypt"):
            transcript.down(total)
            decrypted = DecryptedSum(holder.decrypt(total.ciphertext, self.spec.precision))
            transcript.count_up(decrypted)
            result = self.packing.unpack(decrypted.sum)
        phases, view = transcript.phases, transcript.view
        return Outcome(result, tuple(included), phases, num_clipped, server_view=view, senders=transcript.senders)

    def _set_up(self, transcript: Transcript) -> tuple[KeyHolder, CkksServer, Workers]:
        holder = KeyHolder(self.parameters)
        public = PublicContext(holder.public_context())
        transcript.count_up(public)
        most = self.spec.num_workers or cores.available()
        num_workers = most if self._num_ciphertexts > FEW_CIPHERTEXTS else 1
        self._parties = holder, CkksServer(public.context), Workers(Encryptor, holder.client_context(), num_workers)
        return self._parties
