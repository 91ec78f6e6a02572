"""Pairwise keys: X25519 agreement, HKDF-SHA256, and authenticated encryption with AES-256-GCM, all from `cryptography`."""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES = 32
_NONCE = bytes(12)  # a key encrypts one message only, so a constant nonce is safe


class KeyPair:
    """An X25519 key pair from 32 private bytes."""

    def __init__(self, private: bytes):
        self.private = private
        self._key = X25519PrivateKey.from_private_bytes(private)
        self.public = self._key.public_key().public_bytes_raw()

    def agree(self, public: bytes, purpose: str, num_keys: int = 1) -> bytes:
        """Returns `num_keys` concatenated keys of 32 bytes that only the two owners can derive and that differ by `purpose`."""
        secret = self._key.exchange(X25519PublicKey.from_public_bytes(public))
        return HKDF(hashes.SHA256(), num_keys * KEY_BYTES, None, purpose.encode()).derive(secret)


def mask_purpose(round: int, a: int, b: int) -> str:
    """Returns the purpose of a mask key; both clients get the same string."""
    return f"fedlab mask, round {round}, {min(a, b)} and {max(a, b)}"


def share_purpose(round: int, a: int, b: int) -> str:
    """Returns the purpose of share keys; both clients get the same string. Each direction has a key of its own."""
    return f"fedlab shares, round {round}, {min(a, b)} and {max(a, b)}"


def encrypt(key: bytes, message: bytes) -> bytes:
    return AESGCM(key).encrypt(_NONCE, message, None)


def decrypt(key: bytes, ciphertext: bytes) -> bytes:
    """Decrypts. Raises `ValueError` for a ciphertext that was not encrypted under this key."""
    try:
        return AESGCM(key).decrypt(_NONCE, ciphertext, None)
    except InvalidTag:
        raise ValueError("shares were not encrypted under the key of this pair") from None
