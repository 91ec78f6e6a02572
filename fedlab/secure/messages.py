"""The messages of the masked protocol, in the order in which they travel (Bonawitz et al. 2017, figure 4).

Clients are identified by number; the keys of a dict are the clients that its items come from, go to or describe. The first four
messages go to the server, the others come from it.
"""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class AdvertiseKeys:
    """Round 0. Two X25519 public keys: one to encrypt shares, one to agree on masks."""

    cipher_public: bytes
    mask_public: bytes


@dataclasses.dataclass(frozen=True)
class ShareKeys:
    """Round 1. For each neighbour, encrypted for it: a share of the self-mask seed and one of the private mask key."""

    shares: dict[int, bytes]


@dataclasses.dataclass(frozen=True)
class MaskedInput:
    """Round 2. The contribution with all masks added: uint8 [bytes of the encoding]."""

    masked_input: np.ndarray


@dataclasses.dataclass(frozen=True)
class Unmasking:
    """Round 3. The share of the seed of each neighbour that stayed, the share of the key of each that vanished; never both."""

    seed_shares: dict[int, bytes]
    key_shares: dict[int, bytes]


@dataclasses.dataclass(frozen=True)
class Roster:
    """Answer to round 0: the keys of a client's neighbours, and the number of shares that rebuild a secret."""

    keys: dict[int, AdvertiseKeys]
    share_threshold: int


@dataclasses.dataclass(frozen=True)
class Inbox:
    """Answer to round 1: the shares that neighbours encrypted for a client."""

    shares: dict[int, bytes]


@dataclasses.dataclass(frozen=True)
class Survivors:
    """Answer to round 2: the neighbours of a client, including itself, that sent their input, and those that did not."""

    stayed: tuple[int, ...]
    vanished: tuple[int, ...]
