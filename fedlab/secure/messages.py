"""The messages of the masked protocol, in the order in which they travel (Bonawitz et al. 2017, figure 4).

Clients are named by number; what a dict holds is keyed by the client it comes from, goes to or is about. The upper four go to
the server, the others come from it.
"""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class AdvertiseKeys:
    """Round 0. Two X25519 public keys: one to encrypt shares under, one to agree on masks."""

    cipher_public: bytes
    mask_public: bytes


@dataclasses.dataclass(frozen=True)
class ShareKeys:
    """Round 1. For each neighbour, encrypted for it: a share of the self-mask seed and one of the private mask key."""

    shares: dict[int, bytes]


@dataclasses.dataclass(frozen=True)
class MaskedInput:
    """Round 2. The contribution under all masks: uint8 [bytes of the encoding]."""

    masked_input: np.ndarray


@dataclasses.dataclass(frozen=True)
class Unmasking:
    """Round 3. Of each neighbour that stayed, the share of its seed; of each that vanished, the share of its key. Never both."""

    seed_shares: dict[int, bytes]
    key_shares: dict[int, bytes]


@dataclasses.dataclass(frozen=True)
class Roster:
    """Answer to round 0: the keys of a client's neighbours, and how many shares shall rebuild a secret."""

    keys: dict[int, AdvertiseKeys]
    share_threshold: int


@dataclasses.dataclass(frozen=True)
class Inbox:
    """Answer to round 1: what neighbours encrypted for a client."""

    shares: dict[int, bytes]


@dataclasses.dataclass(frozen=True)
class Survivors:
    """Answer to round 2: which of a client's neighbours, itself among them, sent their input, and which never did."""

    stayed: tuple[int, ...]
    vanished: tuple[int, ...]
