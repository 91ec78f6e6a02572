"""`SecureSum`, the options of a protocol, and `Protocol`, which it builds: clients' vectors in, their sum out."""

from __future__ import annotations

import abc
import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field, PositiveInt, model_validator

from fedlab.errors import ConfigError
from fedlab.randomness import generator
from fedlab.secure.layout import ContributionError, Layout
from fedlab.secure.transcript import Phase, Transcript
from fedlab.secure.view import ServerView
from fedlab.spec import Spec, states

Contribution = Sequence[np.ndarray]


@dataclasses.dataclass(frozen=True)
class Dropouts:
    """The clients that vanish, by the message before which they do. A protocol without that message ignores the entry."""

    before_sharing: frozenset[int] = frozenset()
    before_input: frozenset[int] = frozenset()
    before_unmasking: frozenset[int] = frozenset()

    @property
    def without_input(self) -> frozenset[int]:
        """The clients whose contribution never reaches the server."""
        return self.before_sharing | self.before_input

    @classmethod
    def draw(cls, rate: float, clients: Sequence[int], seed: int, round: int, attempt: int = 0) -> Dropouts:
        """Draws dropouts: each client vanishes with probability `rate`, spread evenly over the three stages.

        Every client number has its own draw, sampled or not, so a client's dropout does not depend on the other clients.
        Otherwise sampling one user would change which others are summed, and amplification by sampling could not be claimed.
        """
        numbers = np.array(clients, np.int64)
        at_each = 1 - (1 - rate) ** (1 / 3)
        gone: set[int] = set()
        stages = []
        for stage in range(3):
            again = (attempt,) if attempt else ()
            draws = generator(seed, "secure dropout", round, stage, *again).random(numbers.max(initial=-1) + 1)
            vanishes = draws[numbers] < at_each
            stages.append(frozenset(c for c, v in zip(clients, vanishes) if v and c not in gone))
            gone |= stages[-1]
        return cls(*stages)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """One finished round. `sum`: over the `included` clients; floats in the type of the layout, integers as int64."""

    sum: list[np.ndarray]
    included: tuple[int, ...]
    phases: tuple[Phase, ...]
    num_clipped: int = 0  # values, over all clients
    num_attempts: int = 1
    server_view: ServerView | None = None
    senders: tuple[int, ...] = ()  # clients whose contribution reached the server, even if it entered no sum

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
    """The options that every protocol has."""

    makes: ClassVar[Mapping[str, tuple[str, ...]]] = {"build": ("fedlab.secure.protocol.Protocol",)}

    name: ClassVar[str]
    least_clients: ClassVar[int] = 1  # per round; contributions of fewer clients are never summed
    # True if the clients that stay are always summed, however many vanish (dropout_rate); each class states this for itself.
    # If False, one client may decide if there is a sum at all, and privacy accounting claims no amplification
    sums_whoever_stays: ClassVar[bool] = False

    # everything: all values that clients send; marked: only values that the process sums securely (aggregator=secure)
    scope: Literal["everything", "marked"] = "everything"
    # Rounds, counted from 1, for which the messages that the server received are recorded
    observe: Literal["none", "last", "all"] | tuple[PositiveInt, ...] = "none"
    dropout_rate: Annotated[float, Field(ge=0, lt=1)] = 0.0  # probability that a client vanishes during the protocol

    @abc.abstractmethod
    def build(self, layout: Layout, most_clients: int, seed: int = 0, num_rounds: int | None = None) -> Protocol:
        """Returns the protocol for contributions like `layout`, of at most `most_clients` clients a round. `num_rounds`: the
        last round, for observe=last. Raises `ConfigError` for options that cannot work with these."""

    @property
    def largest_float(self) -> float:
        """The largest magnitude of a float that a client can send through the protocol; ∞ without a limit."""
        return math.inf

    @property
    def largest_error(self) -> float:
        """The largest error of a value of the sum, in either direction; 0 if no error makes a client's update longer."""
        return 0.0

    @property
    def error_chance(self) -> float:
        """The probability per round that d values have errors of norm above √d · `largest_error`. Independent of the data."""
        return 0.0

    @model_validator(mode="after")
    def _counts_pass(self) -> SecureSum:
        if self.largest_float < 1:
            raise ValueError(
                f"clip_range={self.largest_float:g} is less than 1, but clients also send counts of 1 (their weight, and a flag "
                "for a finite update): give 1 or more, or choose scope=marked"
            )
        return self

    def check(self, most_clients: int, always: bool) -> None:
        """Raises `ConfigError` if cohorts of at most `most_clients` clients, or `always` exactly so many, cannot be summed."""
        if most_clients < self.least_clients:
            raise ConfigError(
                f"secure={self.name} needs at least {self.least_clients} clients per round, but there are at most "
                f"{most_clients}, and the sum over one client reveals its update: sample more clients."
            )

    def under_noise(self) -> SecureSum:
        """Returns these options for a sum that gets noise: no client's floats end a round, and no update becomes longer."""
        return self

    def lines(self) -> list[str]:
        """Returns warnings for the user, before the first round."""
        return []

    def observes(self, round: int, num_rounds: int | None) -> bool:
        if self.observe == "last":
            return round == num_rounds
        return self.observe == "all" or (self.observe != "none" and round in self.observe)


class Protocol(abc.ABC):
    """Sums the contributions of a round. Call `close` after the run, or use it in a `with` block."""

    def __init__(self, spec: SecureSum, layout: Layout, most_clients: int, seed: int, num_rounds: int | None):
        if spec.observe == "last" and num_rounds is None:
            raise ConfigError("secure.observe=last needs the number of rounds: set secure.observe=all, or a list of rounds.")
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

        `contributions` are read one at a time, in the order of `clients` (distinct, non-negative), including those of clients
        that vanish. `dropouts` are drawn at `dropout_rate` unless given. Without clients the sum is zeros. Raises
        `ContributionError` for values that cannot enter the sum, and the errors of the protocol.
        """
        clients = tuple(int(c) for c in clients)  # NumPy integers would overflow in secret sharing
        if len(set(clients)) != len(clients) or len(clients) > self.most_clients:
            raise ValueError(
                f"{len(clients)} clients given, {len(set(clients))} different: give at most {self.most_clients}, all different"
            )
        observed = self._spec.observes(round, self._num_rounds)
        name = self._spec.name if states(self._spec, "name") else type(self._spec).__name__  # a subclass inherits no name
        transcript = Transcript(name, round, observed, self.layout, self.most_clients)
        if not clients:
            return Outcome(self.layout.zeros(), (), (), server_view=transcript.view)
        return self._run(round, clients, contributions, dropouts, transcript)

    def read(self, view: ServerView, client: int) -> list[np.ndarray] | None:
        """Returns the server's best reading of one client's message: arrays like an update, or None if it can read nothing."""
        return None

    def close(self) -> None:
        """Ends the processes that the protocol started."""
        return None  # most protocols start none

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
    """Yields (client, contribution), reading one at a time. Raises `ContributionError` if there are too few."""
    source = iter(contributions)
    for number, client in enumerate(clients):
        try:
            yield client, next(source)
        except StopIteration:
            raise ContributionError(f"{len(clients)} clients, but {number} contributions: give one for each.") from None
