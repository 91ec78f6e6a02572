"""Pairwise masks with recovery of clients that vanish (Bonawitz et al. 2017), over integers modulo 2^k.

Server and clients are honest but curious; fewer clients than the threshold may collude. Four rounds of messages travel between
one `MaskedServer` and one `MaskedClient` per client, which share no state.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, PositiveInt, field_validator, model_validator

from fedlab.errors import ConfigError
from fedlab.randomness import generator
from fedlab.secure.encoding import Encoding, OutOfRange, Rounding
from fedlab.secure.graph import neighbors, sparse_degree
from fedlab.secure.layout import Layout
from fedlab.secure.masked_client import MaskedClient
from fedlab.secure.masked_server import BelowThreshold, MaskedServer
from fedlab.secure.pairs import Pairs, are_pairs, checked, halves, linked_by, named, num_paired, revealed
from fedlab.secure.protocol import Contribution, Dropouts, Outcome, Protocol, SecureSum, pair
from fedlab.secure.shamir import Draw
from fedlab.secure.transcript import Transcript
from fedlab.secure.view import ServerView
from fedlab.spec import Promise

REPLAYABLE_KEYS = (
    "the keys of masks follow from the seed, so anybody who knows the seed can remove every mask; use it for tests only"
)
IN_PAIRS = (
    "the server can compute the sum of each pair of clients, and a client that colludes with it reveals its partner's update"
)


class Masked(SecureSum):
    """Options of masked sums: the server sees uniformly random words and the sum."""

    name: ClassVar[str] = "masked"
    vouches: ClassVar[tuple[Promise, ...]] = ("privacy", "same bits")
    least_clients: ClassVar[int] = 2  # a sum of one client's update hides nothing

    # Share of a round's clients that must stay to the end; the same share of clients can rebuild one client's secrets
    threshold: Annotated[float, Field(gt=0.5, le=1)] = 0.66
    # log: a sparse random graph, for 100 or more clients (Bell et al. 2020). pairs: one neighbour, and no client may vanish.
    # A list of pairs: these pairs of places in the cohort, which is in ascending order; no client may vanish
    neighbors: Literal["all", "log", "pairs"] | Pairs = "all"
    bits: Literal[32, 64] = 64  # size of a float on the wire
    clip_range: Annotated[float, Field(gt=0, le=2.0**40)] = 2.0**16  # floats beyond ± this are refused or clipped
    fractional_bits: Annotated[int, Field(ge=0, le=60)] | None = None  # None: as many as fit
    out_of_range: OutOfRange = "refuse"
    rounding: Rounding = "nearest"  # of a client's floats to fixed-point numbers; with a privacy mechanism, toward_zero
    # If too few clients are left: abandon raises; retry repeats the round, unless a client was already asked to unmask
    on_failure: Literal["abandon", "retry"] = "abandon"
    max_attempts: PositiveInt = 3  # attempts per round, for on_failure=retry
    reproducible: bool = False  # keys follow from the seed, for exact reruns; anybody who knows it can remove every mask

    @field_validator("neighbors", mode="before")
    @classmethod
    def _graph(cls, given: Any) -> str | Pairs:
        if given in ("all", "log", "pairs"):
            return given
        if not are_pairs(given):
            raise ValueError(
                "must be 'all', 'log' or 'pairs', or a list of pairs of clients, counted from 0, such as [[0,2],[1,3]]"
            )
        return checked(given)

    @model_validator(mode="after")
    def _paired_stay(self) -> Masked:
        """The masks of a client whose neighbours have vanished protect it alone: without them, its update would be visible."""
        if self.neighbors not in ("all", "log") and (self.threshold != 1 or self.dropout_rate):
            raise ValueError(
                f"neighbors={named(self.neighbors)} with threshold={self.threshold:g} and dropout_rate={self.dropout_rate:g}: "
                "to sum without a client that vanished would reveal its partner's update, so all must stay: set "
                "secure.threshold=1 and secure.dropout_rate=0, or choose neighbors=all"
            )
        return self

    @property
    def largest_float(self) -> float:
        return self.clip_range if self.scope == "everything" else math.inf

    def check(self, most_clients: int, always: bool) -> None:
        super().check(most_clients, always)
        if self.neighbors == "pairs" and (most_clients % 2 or not always):
            given = f"exactly {most_clients}" if always else "a varying number"
            raise ConfigError(
                f"secure.neighbors=pairs needs the same even number of clients in every round, and the cohort has {given}: use "
                "cohort=all, uniform or in_turn without dropout_rate and with an even number of clients, or secure.neighbors=all."
            )
        if not isinstance(self.neighbors, str) and (most_clients != num_paired(self.neighbors) or not always):
            paired, given = num_paired(self.neighbors), f"{most_clients}" if always else f"a varying number, up to {most_clients}"
            raise ConfigError(
                f"secure.neighbors pairs {paired} clients, 0 to {paired - 1}, and a round has {given}: use cohort=all, uniform "
                f"or in_turn without dropout_rate and with exactly {paired} clients, or list pairs of all clients of a round."
            )

    def least_stayed(self, num_clients: int) -> int:
        """Returns the number of clients, of `num_clients`, that must stay to the end of a round."""
        return max(self.least_clients, math.ceil(self.threshold * num_clients - 1e-9))

    def pairs(self, num_clients: int) -> Pairs | None:
        """Returns the pairs of places in a cohort of this size that mask, if they are fixed.

        None for other graphs, and for a number of clients that the pairs do not fit (refused by `check`): neighbors=all.
        """
        if self.neighbors == "pairs":
            return halves(num_clients) if num_clients % 2 == 0 else None
        if isinstance(self.neighbors, str) or num_paired(self.neighbors) != num_clients:
            return None
        return self.neighbors

    def links(self, num_clients: int) -> tuple[int, int]:
        """Returns the number of neighbours of each client, and of the shares that rebuild a secret, if no `pairs` are fixed."""
        sparse = sparse_degree(num_clients) if self.neighbors == "log" else None
        return sparse or (num_clients - 1, self.least_stayed(num_clients))

    def lines(self) -> list[str]:
        if self.neighbors == "pairs":
            graph = [f"secure.neighbors=pairs: {IN_PAIRS}"]
        elif isinstance(self.neighbors, str):
            graph = []
        else:
            graph = [f"secure.neighbors={named(self.neighbors)}: {revealed(self.neighbors)}"]
        return graph + ([f"secure.reproducible=true: {REPLAYABLE_KEYS}"] if self.reproducible else [])

    def under_noise(self) -> Masked:
        return self.model_copy(update={"out_of_range": "saturate", "rounding": "toward_zero"})

    def build(self, layout: Layout, most_clients: int, seed: int = 0, num_rounds: int | None = None) -> MaskedSum:
        return MaskedSum(self, layout, most_clients, seed, num_rounds)


class MaskedSum(Protocol):
    """Sums masked inputs. If too few clients are left to remove the masks of those that vanished, raises `BelowThreshold`.

    Two sums over the same inputs would reveal the inputs in which they differ. So an attempt is repeated only if no client has
    sent a share that unmasks; and a sum that can be unmasked with the shares sent is always the one that is used.
    """

    def __init__(self, spec: Masked, layout: Layout, most_clients: int, seed: int, num_rounds: int | None):
        super().__init__(spec, layout, most_clients, seed, num_rounds)
        self.spec = spec
        options = (spec.bits, spec.clip_range, spec.fractional_bits, spec.out_of_range, spec.rounding)
        self.encoding = Encoding(layout, most_clients, *options)

    def read(self, view: ServerView, client: int) -> list[np.ndarray] | None:
        """Returns the masked words, decoded as if they were not masked."""
        masked = view.received.get(client, {}).get("masked_input")
        return None if masked is None else self.encoding.decode(masked)

    def server(self, round: int, clients: tuple[int, ...], attempt: int = 0) -> MaskedServer:
        """Returns a server for these clients, before any message."""
        threshold = self.spec.least_stayed(len(clients))
        pairs = self.spec.pairs(len(clients))
        if pairs:
            return MaskedServer(round, linked_by(pairs, sorted(clients)), threshold, None, self.encoding)
        degree, share_threshold = self.spec.links(len(clients))
        graph = neighbors(clients, degree, generator(self.seed, "secure neighbors", round, attempt))
        return MaskedServer(round, graph, threshold, share_threshold, self.encoding)

    def client(self, number: int, round: int, attempt: int = 0) -> MaskedClient:
        """Returns a client with fresh keys."""
        draw: Draw = os.urandom
        if self.spec.reproducible:
            draw = generator(self.seed, "secure keys", round, attempt, number).bytes
        return MaskedClient(number, round, draw)

    def _run(
        self,
        round: int,
        clients: tuple[int, ...],
        contributions: Iterable[Contribution],
        dropouts: Dropouts | None,
        transcript: Transcript,
    ) -> Outcome:
        attempts = self.spec.max_attempts if self.spec.on_failure == "retry" else 1
        if attempts > 1:
            contributions = [[np.array(a) for a in arrays] for arrays in contributions]  # clients keep them for a retry
        attempt, num_clipped = 0, 0
        try:
            while True:
                transcript.attempt = attempt
                drawn = self._draw_dropouts(clients, round, attempt) if dropouts is None or attempt else dropouts
                try:
                    server, members, num_clipped = self._collect(round, attempt, clients, contributions, drawn, transcript)
                    break
                except BelowThreshold:  # no client was asked for a share yet: the server can unmask nothing
                    if attempt + 1 == attempts:
                        raise
                    attempt += 1
            result = self._unmask(server, members, drawn, transcript)
        except BelowThreshold as error:
            error.outcome = self._outcome(self.layout.zeros(), (), 0, attempt + 1, transcript)
            raise
        return self._outcome(result, server.included, num_clipped, attempt + 1, transcript)

    @staticmethod
    def _outcome(
        result: list[np.ndarray], included: tuple[int, ...], num_clipped: int, num_attempts: int, transcript: Transcript
    ) -> Outcome:
        return Outcome(result, included, transcript.phases, num_clipped, num_attempts, transcript.view, transcript.senders)

    def _collect(
        self,
        round: int,
        attempt: int,
        clients: tuple[int, ...],
        contributions: Iterable[Contribution],
        dropouts: Dropouts,
        transcript: Transcript,
    ) -> tuple[MaskedServer, dict[int, MaskedClient], int]:
        """Runs an attempt up to the masked inputs, and checks that they can be unmasked. The integer returned is the count of
        clipped values. Raises `BelowThreshold`."""
        with transcript.phase("advertise keys"):
            server = self.server(round, clients, attempt)
            members = {c: self.client(c, round, attempt) for c in clients}
            for number, client in members.items():
                advertised = client.advertise()
                transcript.up(number, advertised)
                server.receive_keys(number, advertised)
        with transcript.phase("share keys"):
            present = [c for c in clients if c not in dropouts.before_sharing]
            for number in present:
                roster = server.roster(number)
                transcript.down(roster)
                shared = members[number].share_keys(roster)
                transcript.up(number, shared)
                server.receive_shares(number, shared)
        num_clipped = 0
        for number, arrays in pair(clients, contributions):
            if number in dropouts.without_input:
                continue
            with transcript.phase("masked input"):
                inbox = server.inbox(number)
                transcript.down(inbox)
                encoded, clipped = self.encoding.encode(arrays)
                num_clipped += clipped
                masked = members[number].masked_input(inbox, encoded, self.encoding.split)
                transcript.up(number, masked, contributes=True)
                server.receive_input(number, masked)
        with transcript.phase("unmasking"):
            server.close_inputs()
        return server, members, num_clipped

    def _unmask(
        self, server: MaskedServer, members: dict[int, MaskedClient], dropouts: Dropouts, transcript: Transcript
    ) -> list[np.ndarray]:
        """Returns the sum of the inputs, from the shares of the clients that are left. After `BelowThreshold` there must be no
        further attempt: one more share, from a client that vanished, might unmask this one."""
        with transcript.phase("unmasking"):
            for number in server.included:
                survivors = server.survivors(number)
                transcript.down(survivors)
                if number not in dropouts.before_unmasking:
                    unmasking = members[number].unmask(survivors)
                    transcript.up(number, unmasking)
                    server.receive_unmasking(number, unmasking)
            return self.encoding.decode(server.sum())
