"""The cohorts of asynchronous training under a simulated clock: the clients whose updates fill the server's buffer."""

from __future__ import annotations

import heapq
from collections.abc import Callable

import numpy as np
from pydantic import Field

from fedlab.cohort.samplers import CohortSampler
from fedlab.errors import ConfigError
from fedlab.randomness import generator
from fedlab.types import Cohort


class Buffered(CohortSampler):
    """Asynchronous training (Nguyen et al. 2022, algorithm 1): `concurrency` clients train at any time, each from the model that
    is the newest when it starts. Once `buffer_size` updates have arrived, the server makes a step, which is a round of the run.

    When a client ends, another one starts at once, drawn uniformly from all clients that neither train nor have an update in the
    buffer. So each client counts at most once in a step. If there is no such client, the start waits for the step. The server
    receives updates that arrive at the same moment in the order of the clients, before others start. It drops an update whose
    model is more than `max_staleness` server steps old. A client that vanishes does so when its update would have arrived.

    All of this follows from the seed, the clients' seconds and these options alone. `concurrency`, `buffer_size`: from 1 to the
    number of clients.
    """

    concurrency: int = Field(gt=0)
    buffer_size: int = Field(gt=0)
    max_staleness: int = Field(20, ge=0)

    def check(self, num_clients: int) -> None:
        for name in ("concurrency", "buffer_size"):
            if getattr(self, name) > num_clients:
                raise ConfigError(
                    f"cohort.{name} is {getattr(self, name)}, but there are only {num_clients} clients: choose 1 to "
                    f"{num_clients}."
                )

    def most_clients(self, num_clients: int) -> int:
        return self.buffer_size

    @property
    def are_equal(self) -> bool:
        return True

    @property
    def usual_clients(self) -> int:
        return self.buffer_size

    def timed(self, seconds: np.ndarray) -> Callable[[int, int, int], Cohort]:
        """Returns the cohorts of clients that need `seconds` [clients] to train, called like a sampler."""
        simulations: dict[int, _Simulation] = {}

        def cohort(num_clients: int, seed: int, round: int) -> Cohort:
            self.check(num_clients)
            assert len(seconds) == num_clients
            if seed not in simulations:
                simulations[seed] = _Simulation(self, seconds, seed)
            found = simulations[seed]
            while len(found.cohorts) < round:
                found.advance()
            return found.cohorts[round - 1]

        return cohort

    def __call__(self, num_clients: int, seed: int, round: int) -> Cohort:
        """Returns the cohort of `round` if all clients are equally fast."""
        return self.timed(np.ones(num_clients))(num_clients, seed, round)

    def _choose(self, num_clients: int, seed: int, round: int) -> np.ndarray:
        return self(num_clients, seed, round).clients


class _Simulation:
    """The events of one asynchronous training, in the order of their times. `cohorts`: of the server steps so far."""

    def __init__(self, spec: Buffered, seconds: np.ndarray, seed: int):
        self._spec, self._seconds, self._seed = spec, seconds, seed
        self.cohorts: list[Cohort] = []
        self._now = self._stepped = 0.0  # seconds; those of the last server step
        self._training: list[tuple[float, int, int, int]] = []  # a heap: end, client, version of the model, number of the start
        self._busy = np.zeros(len(seconds), bool)  # clients that train or have an update in the buffer
        self._buffer: list[tuple[int, int]] = []  # client, staleness
        self._dropped: list[int] = []
        self._num_too_stale = self._num_starts = self._num_draws = 0  # since the last server step; ever; since the last step
        self._start()

    @property
    def _version(self) -> int:
        """Returns the number of server steps behind the newest model."""
        return len(self.cohorts)

    def advance(self) -> None:
        """Proceeds to the next moment at which clients end."""
        self._now = self._training[0][0]
        while self._training and self._training[0][0] == self._now:
            _, client, version, start = heapq.heappop(self._training)
            staleness = self._version - version
            vanishes = generator(self._seed, "dropout", start).random() < self._spec.dropout_rate
            if vanishes or staleness > self._spec.max_staleness:
                self._dropped.append(client)
                self._num_too_stale += not vanishes
                self._busy[client] = False
                continue
            self._buffer.append((client, staleness))
            if len(self._buffer) == self._spec.buffer_size:
                self._step()
        self._start()

    def _step(self) -> None:
        clients, staleness = np.array(sorted(self._buffer), np.int64).T
        self.cohorts.append(
            Cohort(
                self._version + 1,
                clients=clients,
                dropped=np.sort(np.array(self._dropped, np.int64)),
                seconds=self._now - self._stepped,
                staleness=staleness,
                num_too_stale=self._num_too_stale,
            )
        )
        self._busy[clients] = False
        self._buffer, self._dropped, self._num_too_stale, self._num_draws = [], [], 0, 0
        self._stepped = self._now

    def _start(self) -> None:
        """Lets clients start until `concurrency` of them train."""
        free = np.flatnonzero(~self._busy)
        count = min(self._spec.concurrency - len(self._training), len(free))
        if not count:
            return
        # The first draw after a step is that of a synchronous round with cohort=uniform
        again = (self._num_draws,) if self._num_draws else ()
        rng = generator(self._seed, "cohort", self._version + 1, *again)
        for client in np.sort(free[rng.choice(len(free), count, replace=False)]).tolist():
            self._num_starts += 1
            ends = self._now + float(self._seconds[client])
            heapq.heappush(self._training, (ends, client, self._version, self._num_starts))
            self._busy[client] = True
        self._num_draws += 1
