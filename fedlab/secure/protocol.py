"""`SecureSum`, the options of a protocol, and `Protocol`, what it builds: clients' vectors in, their sum out."""

from __future__ import annotations

import abc
import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field, PositiveInt

from fedlab.errors import ConfigError
from fedlab.randomness import generator
from fedlab.secure.layout import ContributionError, Layout
from fedlab.secure.transcript import Phase, Transcript
from fedlab.secure.view import ServerView
from fedlab.spec import Spec, states

Contribution = Sequence[np.ndarray]


@dataclasses.dataclass(frozen=True)
class Dropouts:
    """Which clients vanish, and before which of their messages. A protocol without that message is not concerned."""

    before_sharing: frozenset[int] = frozenset()
    before_input: frozenset[int] = frozenset()
    before_unmasking: frozenset[int] = frozenset()

    @property
    def without_input(self) -> frozenset[int]:
        """Clients whose contribution never reaches the server."""
        return self.before_sharing | self.before_input

    @classmethod
    def draw(cls, rate: float, clients: Sequence[int], seed: int, round: int, attempt: int = 0) -> Dropouts:
        """Each client vanishes with chance `rate`; whoever is still there, with the same chance at each of the three stages."""
        at_each = 1 - (1 - rate) ** (1 / 3)
        gone: set[int] = set()
        stages = []
        for stage in range(3):
            again = (attempt,) if attempt else ()
            vanishes = generator(seed, "secure dropout", round, stage, *again).random(len(clients)) < at_each
            stages.append(frozenset(c for c, v in zip(clients, vanishes) if v and c not in gone))
            gone |= stages[-1]
        return cls(*stages)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """One finished round. `sum`: floats in the type they were given in, integers as int64; of the `included` clients."""

    sum: list[np.ndarray]
    included: tuple[int, ...]
    phases: tuple[Phase, ...]
    num_clipped: int = 0  # values, over all clients
    num_attempts: int = 1
    server_view: ServerView | None = None
    senders: tuple[int, ...] = ()  # clients whose contribution reached the server, also where it entered no sum

    @property
    def num_included(self) -> int:
        return len(self.included)

    @property
    def bytes_up(self) -> int:
        return sum(p.bytes_up for p in self.phases)

    @property
    def bytes_down(self) -> int:
        return sum(p.bytes_down for p in self.phases)

    @property
    def seconds(self) -> float:
        return sum(p.seconds for p in self.phases)


class SecureSum(Spec):
    """Options that every protocol has."""

    name: ClassVar[str]
    least_clients: ClassVar[int] = 1  # in a round; fewer are never summed

    # everything: all that clients send; marked: only what the process itself asks to be summed securely (aggregator=secure)
    scope: Literal["everything", "marked"] = "everything"
    # Rounds, counted from 1, of which to keep what the server received
    observe: Literal["none", "last", "all"] | tuple[PositiveInt, ...] = "none"
    dropout_rate: Annotated[float, Field(ge=0, lt=1)] = 0.0  # chance of a client to vanish in the midst of the protocol

    @abc.abstractmethod
    def build(self, layout: Layout, most_clients: int, seed: int = 0, num_rounds: int | None = None) -> Protocol:
        """The protocol for contributions like `layout`, of at most `most_clients` clients a round. `num_rounds` tells which
        round is the last to observe. Raises `ConfigError` for options that cannot work with these."""

    @property
    def largest_float(self) -> float:
        """The largest magnitude of a float that a client can send through the protocol; ∞ where there is no limit."""
        return math.inf

    def under_noise(self) -> SecureSum:
        """The same protocol, fit for a sum that gets noise: a client's floats never end a round, and no update becomes longer."""
        return self

    def lines(self) -> list[str]:
        """Warnings for the user, before the first round."""
        return []

    def observes(self, round: int, num_rounds: int | None) -> bool:
        if self.observe == "last":
            return round == num_rounds
        return self.observe == "all" or (self.observe != "none" and round in self.observe)


class Protocol(abc.ABC):
    """Sums the contributions of a round. Close it, or use it in a `with`, when the run is over."""

    def __init__(self, spec: SecureSum, layout: Layout, most_clients: int, seed: int, num_rounds: int | None):
        if spec.observe == "last" and num_rounds is None:
            raise ConfigError("secure.observe=last needs the number of rounds: observe all, or a list of rounds.")
        self.layout, self.most_clients, self.seed = layout, most_clients, seed
        self._spec, self._num_rounds = spec, num_rounds

    def run_round(
        self,
        round: int,
        clients: Sequence[int],
        contributions: Iterable[Contribution],
        dropouts: Dropouts | None = None,
    ) -> Outcome:
        """Runs the protocol once.

        `contributions` are asked for one at a time, in the order of `clients` (distinct, non-negative), also those of clients
        who vanish. `dropouts` are drawn at `dropout_rate` unless given. No clients at all sum to zeros. Raises
        `ContributionError` for values that cannot enter the sum, and what the protocol may fail with.
        """
        clients = tuple(int(c) for c in clients)  # out of an array, they would wrap in secret sharing
        if len(set(clients)) != len(clients) or len(clients) > self.most_clients:
            raise ValueError(f"{len(clients)} clients given, {len(set(clients))} different, at most {self.most_clients} agreed")
        observed = self._spec.observes(round, self._num_rounds)
        name = self._spec.name if states(self._spec, "name") else type(self._spec).__name__  # no subclass is its base class
        transcript = Transcript(name, round, observed, self.layout, self.most_clients)
        if not clients:
            return Outcome(self.layout.zeros(), (), (), server_view=transcript.view)
        return self._run(round, clients, contributions, dropouts, transcript)

    def read(self, view: ServerView, client: int) -> list[np.ndarray] | None:
        """The best that the server can make of one client's message by itself: arrays like an update, or None for nothing."""
        return None

    def close(self) -> None:
        """Ends whatever the protocol started."""
        return None  # most start nothing

    def __enter__(self) -> Protocol:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abc.abstractmethod
    def _run(
        self,
        round: int,
        clients: tuple[int, ...],
        contributions: Iterable[Contribution],
        dropouts: Dropouts | None,
        transcript: Transcript,
    ) -> Outcome: ...

    def _draw_dropouts(self, clients: Sequence[int], round: int, attempt: int = 0) -> Dropouts:
        return Dropouts.draw(self._spec.dropout_rate, clients, self.seed, round, attempt)


def pair(clients: Sequence[int], contributions: Iterable[Contribution]) -> Iterator[tuple[int, Contribution]]:
    """(client, contribution), asking for one at a time. Raises `ContributionError` when there are too few."""
    source = iter(contributions)
    for number, client in enumerate(clients):
        try:
            yield client, next(source)
        except StopIteration:
            raise ContributionError(f"{len(clients)} clients, but {number} contributions: give one for each.") from None
