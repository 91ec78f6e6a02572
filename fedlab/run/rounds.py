"""Turns a cohort into the input of an engine: examples, their order, and random keys."""

from __future__ import annotations

import concurrent.futures
import dataclasses
from collections.abc import Callable, Iterator

import numpy as np

from fedlab import randomness
from fedlab.cohort import visiting_order
from fedlab.engine import RoundInput
from fedlab.types import Cohort, Partition

Sampler = Callable[[int, int, int], Cohort]  # (number of clients, seed, round) → cohort


@dataclasses.dataclass(frozen=True)
class Sources:
    """The sources of a run's draws: its seed, or a separate `randomness.Secret` for each kind of draw that ε relies on."""

    seed: int  # for the order in which clients visit their examples, and for everything not listed here
    cohorts: int  # for sampled clients and their dropouts
    clients: int  # for the clients' draws: noise, batches, dropout masks
    server: int  # for the server's draws

    @classmethod
    def of(cls, source: Sources | int) -> Sources:
        """Returns `source` if it is a `Sources`; else sources that all use the seed."""
        return source if isinstance(source, Sources) else cls(source, source, source, source)


def round_input(partition: Partition, cohort: Cohort, local_epochs: int, source: Sources | int) -> RoundInput:
    """Returns the input of one round, which depends only on the arguments."""
    sources = Sources.of(source)
    mine = [partition.indices[c] for c in cohort.clients]
    sizes = [len(i) for i in mine]
    orders = [visiting_order(n, local_epochs, sources.seed, cohort.round, int(c)) for n, c in zip(sizes, cohort.clients)]
    keys = [randomness.key(sources.clients, "client", cohort.round, int(c)) for c in cohort.clients]
    return RoundInput(
        round=cohort.round,
        clients=np.asarray(cohort.clients, np.int64),
        indices=np.concatenate([*mine, np.zeros(0)]).astype(np.int32),
        row_splits=np.cumsum([0, *sizes]).astype(np.int32),
        order=np.concatenate([*orders, np.zeros((local_epochs, 0), np.int32)], axis=1).astype(np.int32),
        keys=np.array(keys, np.int64).reshape(-1, 2),
        server_key=randomness.key(sources.server, "server", cohort.round),
    )


def prepared_rounds(
    partition: Partition, sampler: Sampler, local_epochs: int, source: Sources | int, first: int, last: int
) -> Iterator[tuple[Cohort, RoundInput]]:
    """Yields rounds `first` to `last`; each is prepared in the background while the previous one is computed."""
    sources = Sources.of(source)

    def prepare(round_num: int) -> tuple[Cohort, RoundInput]:
        cohort = sampler(len(partition), sources.cohorts, round_num)
        return cohort, round_input(partition, cohort, local_epochs, sources)

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        ahead = pool.submit(prepare, first)
        for round_num in range(first, last + 1):
            ready = ahead.result()
            if round_num < last:
                ahead = pool.submit(prepare, round_num + 1)
            yield ready
