"""A client of the masked protocol. It exchanges messages with the server only; each method is one step of a round."""

from __future__ import annotations

import numpy as np

from fedlab.secure import agreement, shamir
from fedlab.secure.keystream import add_masks
from fedlab.secure.messages import AdvertiseKeys, Inbox, MaskedInput, Roster, ShareKeys, Survivors, Unmasking


class MaskedClient:
    """A client in one round: its keys and masks are used once. `draw(n)` returns n random bytes."""

    def __init__(self, number: int, round: int, draw: shamir.Draw):
        self.number, self._round, self._draw = number, round, draw
        self._cipher_keys = agreement.KeyPair(draw(agreement.KEY_BYTES))
        self._mask_keys = agreement.KeyPair(draw(agreement.KEY_BYTES))
        self._seed = draw(agreement.KEY_BYTES)  # seed of the self-mask
        self._roster: Roster
        self._pair_keys: dict[int, bytes] = {}  # shared with each neighbour
        self._held: dict[int, bytes] = {}  # by client (neighbours and itself): share of its seed ‖ share of its key
        self._may_mask = self._may_unmask = True

    def advertise(self) -> AdvertiseKeys:
        return AdvertiseKeys(self._cipher_keys.public, self._mask_keys.public)

    def share_keys(self, roster: Roster) -> ShareKeys:
        """Splits both secrets into shares for the neighbours and itself."""
        self._roster = roster
        holders = [*roster.keys, self.number]
        points = [share_point(h) for h in holders]
        seed_shares = shamir.split(self._seed, points, roster.share_threshold, self._draw)
        key_shares = shamir.split(self._mask_keys.private, points, roster.share_threshold, self._draw)
        both = {h: seed_shares[p] + key_shares[p] for h, p in zip(holders, points)}
        self._held[self.number] = both.pop(self.number)
        return ShareKeys({h: agreement.encrypt(self._cipher_key(self.number, h), shares) for h, shares in both.items()})

    def masked_input(self, inbox: Inbox, encoded: np.ndarray, split: int) -> MaskedInput:
        """Masks `encoded`, in place, with the self-mask and one mask for each neighbour that shared its keys.

        Of two neighbours, the one with the higher number adds their mask and the other subtracts it.
        """
        if not self._may_mask:
            raise ValueError(f"client {self.number} has masked an input already: a mask is used only once")
        self._may_mask = False
        for sender, ciphertext in inbox.shares.items():
            self._held[sender] = agreement.decrypt(self._cipher_key(sender, self.number), ciphertext)
        masks = [(self._seed, +1)]
        for peer in inbox.shares:
            key = self._mask_keys.agree(
                self._roster.keys[peer].mask_public, agreement.mask_purpose(self._round, self.number, peer)
            )
            masks.append((key, +1 if self.number > peer else -1))
        add_masks(encoded, split, masks)
        return MaskedInput(encoded)

    def unmask(self, survivors: Survivors) -> Unmasking:
        """Returns one share of each neighbour, once. Raises `ValueError` for a request that would expose a client's input."""
        if not self._may_unmask:
            raise ValueError(f"client {self.number} has sent its shares already, and sends them only once")
        if set(survivors.stayed) & set(survivors.vanished):
            raise ValueError("a client is listed as stayed and as vanished: that would reveal both its secrets")
        if self.number not in survivors.stayed:
            raise ValueError(f"client {self.number} sent its input, but the server lists it as vanished")
        self._may_unmask = False
        size = shamir.SHARE_BYTES
        return Unmasking(
            {c: self._held[c][:size] for c in survivors.stayed}, {c: self._held[c][size:] for c in survivors.vanished}
        )

    def _cipher_key(self, sender: int, receiver: int) -> bytes:
        """Returns the key of a direction: a pair's first key encrypts the messages of the client with the lower number."""
        peer = receiver if sender == self.number else sender
        if peer not in self._pair_keys:
            purpose = agreement.share_purpose(self._round, sender, receiver)
            self._pair_keys[peer] = self._cipher_keys.agree(self._roster.keys[peer].cipher_public, purpose, num_keys=2)
        both = self._pair_keys[peer]
        return both[: agreement.KEY_BYTES] if sender < receiver else both[agreement.KEY_BYTES :]


def share_point(number: int) -> int:
    """Returns the point of the polynomial at which a client's share lies: not zero, where the secret lies."""
    return number + 1
