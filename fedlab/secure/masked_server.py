"""The server of the masked protocol. It has only the clients' messages, and learns the sum over the clients that stayed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fedlab.errors import FedlabError
from fedlab.secure import agreement, shamir
from fedlab.secure.encoding import Encoding
from fedlab.secure.graph import is_connected
from fedlab.secure.keystream import add_masks
from fedlab.secure.masked_client import share_point
from fedlab.secure.messages import AdvertiseKeys, Inbox, MaskedInput, Roster, ShareKeys, Survivors, Unmasking

if TYPE_CHECKING:
    from fedlab.secure.protocol import Outcome


class BelowThreshold(FedlabError):
    """Too many clients vanished to unmask the sum. `outcome`: the cost of the round and the messages that the server received."""

    outcome: Outcome


class MaskedServer:
    """The server in one round.

    `graph`: each client's neighbours. At least `threshold` clients must send their inputs, and `share_threshold` shares rebuild
    a secret. A method that finds fewer raises `BelowThreshold`; `sum` raises it only if no set of inputs can be unmasked.
    Masks must connect all clients that stayed. Exception: `share_threshold=None` is for a graph in which every client must
    stay, and which may have several parts, whose sums the server can see. A secret then takes the shares of all its holders.
    """

    def __init__(
        self,
        round: int,
        graph: Mapping[int, Sequence[int]],
        threshold: int,
        share_threshold: int | None,
        encoding: Encoding,
    ):
        self._round, self._graph, self._encoding = round, graph, encoding
        self.threshold, self._share_threshold = threshold, share_threshold
        self._keys: dict[int, AdvertiseKeys] = {}
        self._shares: dict[int, ShareKeys] = {}  # by sender; encrypted
        self._stayed: list[int] = []
        self._total = encoding.zeros()
        self._seed_shares: dict[int, dict[int, bytes]] = {}  # {about: {point: share}}
        self._key_shares: dict[int, dict[int, bytes]] = {}
        self._closed = False  # True once no more inputs are accepted and they can be unmasked
        self.recovered_seeds: dict[int, bytes] = {}
        self.recovered_keys: dict[int, bytes] = {}

    @property
    def included(self) -> tuple[int, ...]:
        """The clients whose inputs are in the sum."""
        return tuple(self._stayed)

    def shares_needed(self, client: int) -> int:
        """Returns the number of shares that rebuild a secret of `client`. Its neighbours and itself have one each."""
        return self._share_threshold or len(self._graph[client]) + 1

    def receive_keys(self, client: int, message: AdvertiseKeys) -> None:
        self._keys[client] = message

    def roster(self, client: int) -> Roster:
        self._require(len(self._keys), "advertised keys")
        keys = {peer: self._keys[peer] for peer in self._graph[client] if peer in self._keys}
        return Roster(keys, self.shares_needed(client))

    def receive_shares(self, client: int, message: ShareKeys) -> None:
        self._shares[client] = message

    def inbox(self, client: int) -> Inbox:
        self._require(len(self._shares), "shared their keys")
        return Inbox({peer: self._shares[peer].shares[client] for peer in self._graph[client] if peer in self._shares})

    def receive_input(self, client: int, message: MaskedInput) -> None:
        self._encoding.add(self._total, message.masked_input)
        self._stayed.append(client)

    def close_inputs(self) -> None:
        """Checks, before a client is asked for a share, that the clients that stayed can unmask their sum, and no smaller sum."""
        self._require(len(self._stayed), "sent their input")
        self._require_linked()
        stayed = set(self._stayed)
        for client in (*self._stayed, *self._gone()):
            self._require_shares(client, len(stayed.intersection((client, *self._graph[client]))))
        self._closed = True

    def survivors(self, client: int) -> Survivors:
        """Returns the request for a client's shares, after `close_inputs`."""
        assert self._closed, "call `close_inputs` before asking for shares"
        stayed = set(self._stayed)
        around = [client, *(peer for peer in self._graph[client] if peer in self._shares)]
        return Survivors(tuple(c for c in around if c in stayed), tuple(c for c in around if c not in stayed))

    def receive_unmasking(self, client: int, message: Unmasking) -> None:
        for store, shares in ((self._seed_shares, message.seed_shares), (self._key_shares, message.key_shares)):
            for about, share in shares.items():
                store.setdefault(about, {})[share_point(client)] = share

    def sum(self) -> np.ndarray:
        """Returns the sum of the survivors' encoded inputs: removes each survivor's self-mask, and the masks that neighbours
        had added for each vanished client."""
        masks = []
        for client in self._stayed:
            self.recovered_seeds[client] = self._rebuild(self._seed_shares, client)
            masks.append((self.recovered_seeds[client], -1))
        for gone, linked in self._gone().items():
            self.recovered_keys[gone] = self._rebuild(self._key_shares, gone)
            pair = agreement.KeyPair(self.recovered_keys[gone])
            for peer in linked:
                key = pair.agree(self._keys[peer].mask_public, agreement.mask_purpose(self._round, gone, peer))
                masks.append((key, -1 if peer > gone else +1))
        add_masks(self._total, self._encoding.split, masks)
        return self._total

    def _gone(self) -> dict[int, list[int]]:
        """Returns, for each client that vanished after neighbours had masked for it, the neighbours that stayed."""
        stayed = set(self._stayed)
        masked_for = {c: [p for p in self._graph[c] if p in stayed] for c in self._shares if c not in stayed}
        return {client: peers for client, peers in masked_for.items() if peers}

    def _require_linked(self) -> None:
        if self._share_threshold and not is_connected(self._graph, self._stayed):
            raise BelowThreshold(
                f"the {len(self._stayed)} clients left are no longer all linked by masks, which would reveal sums of fewer "
                "clients: set secure.neighbors=all or lower the dropout."
            )

    def _rebuild(self, store: Mapping[int, Mapping[int, bytes]], about: int) -> bytes:
        shares = store.get(about, {})
        self._require_shares(about, len(shares))
        return shamir.combine(shares, self.shares_needed(about))

    def _require_shares(self, about: int, found: int) -> None:
        needed = self.shares_needed(about)
        if found < needed:
            raise BelowThreshold(
                f"{found} of {len(self._graph)} clients are left that have shares of client {about}, {needed} are "
                "needed: sample more clients, lower the dropout, or set secure.neighbors=all."
            )

    def _require(self, found: int, what: str) -> None:
        if found < self.threshold:
            raise BelowThreshold(
                f"{found} of {len(self._graph)} clients {what}, {self.threshold} are needed: sample more clients, lower the "
                "dropout or secure.threshold, or set secure.on_failure=retry."
            )
