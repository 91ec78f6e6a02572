"""A client of the masked protocol. It talks to the server only, in messages; each method is one step of one round."""

from __future__ import annotations

import numpy as np

from fedlab.secure import agreement, shamir
from fedlab.secure.keystream import add_masks
from fedlab.secure.messages import AdvertiseKeys, Inbox, MaskedInput, Roster, ShareKeys, Survivors, Unmasking


class MaskedClient:
    """Lives for one round: its keys and masks serve once. `draw(n)` gives n random bytes."""

    def __init__(self, number: int, round: int, draw: shamir.Draw):
        self.number, self._round, self._draw = number, round, draw
        self._cipher_keys = agreement.KeyPair(draw(agreement.KEY_BYTES))
        self._mask_keys = agreement.KeyPair(draw(agreement.KEY_BYTES))
        self._seed = draw(agreement.KEY_BYTES)  # of the self-mask
        self._roster: Roster
        self._pair_keys: dict[int, bytes] = {}  # shared with each neighbour
        self._held: dict[int, bytes] = {}  # of each neighbour and itself: share of its seed ‖ share of its key
        self._may_mask = self._may_unmask = True

    def advertise(self) -> AdvertiseKeys:
        return AdvertiseKeys(self._cipher_keys.public, self._mask_keys.public)

    def share_keys(self, roster: Roster) -> ShareKeys:
        """Shares both secrets among the neighbours and itself."""
        self._roster = roster
        holders = [*roster.keys, self.number]
        points = [share_point(h) for h in holders]
        seed_shares = shamir.split(self._seed, points, roster.share_threshold, self._draw)
        key_shares = shamir.split(self._mask_keys.private, points, roster.share_threshold, self._draw)
        both = {h: seed_shares[p] + key_shares[p] for h, p in zip(holders, points)}
        self._held[self.number] = both.pop(self.number)
        return ShareKeys({h: agreement.encrypt(self._cipher_key(self.number, h), shares) for h, shares in both.items()})

    def masked_input(self, inbox: Inbox, encoded: np.ndarray, split: int) -> MaskedInput:
        """Masks `encoded`, in place, with the self-mask and one for each neighbour that shared its keys.

        Of two neighbours the one of the higher number adds their mask and the other takes it off.
        """
        if not self._may_mask:
            raise ValueError(f"client {self.number} has masked an input already: masks serve once")
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
        """Gives out one share of each neighbour, once. Raises `ValueError` for a request that would expose somebody."""
        if not self._may_unmask:
            raise ValueError(f"client {self.number} has given out its shares already")
        if set(survivors.stayed) & set(survivors.vanished):
            raise ValueError("a client cannot have stayed and vanished: that would reveal both its secrets")
        if self.number not in survivors.stayed:
            raise ValueError(f"client {self.number} sent its input, yet is said to have vanished")
        self._may_unmask = False
        size = shamir.SHARE_BYTES
        return Unmasking(
            {c: self._held[c][:size] for c in survivors.stayed}, {c: self._held[c][size:] for c in survivors.vanished}
        )

    def _cipher_key(self, sender: int, receiver: int) -> bytes:
        """The first key of a pair is for what the lower number sends."""
        peer = receiver if sender == self.number else sender
        if peer not in self._pair_keys:
            purpose = agreement.share_purpose(self._round, sender, receiver)
            self._pair_keys[peer] = self._cipher_keys.agree(self._roster.keys[peer].cipher_public, purpose, num_keys=2)
        both = self._pair_keys[peer]
        return both[: agreement.KEY_BYTES] if sender < receiver else both[agreement.KEY_BYTES :]


def share_point(number: int) -> int:
    """Where a client's share lies on the polynomial: anywhere but at zero, where the secret is."""
    return number + 1
