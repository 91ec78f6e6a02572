"""Turns a cohort into what an engine takes: which examples, in which order, with which random keys."""

from __future__ import annotations

import concurrent.futures
import dataclasses
from collections.abc import Iterator

import numpy as np

from fedlab import randomness
from fedlab.cohort import CohortSampler, visiting_order
from fedlab.engine import RoundInput
from fedlab.types import Cohort, Partition


@dataclasses.dataclass(frozen=True)
class Sources:
    """From what the draws of a run follow: its seed, or a `randomness.Secret` of its own for each kind that ε rests on."""

    seed: int  # of the order in which clients visit their examples, and of all that no `Sources` is asked for
    cohorts: int  # who is chosen, and who of them vanishes
    clients: int  # what clients draw: noise, batches, dropout masks
    server: int  # what the server draws

    @classmethod
    def of(cls, source: Sources | int) -> Sources:
        """Returns `source`; of a seed, everything from it."""
        return source if isinstance(source, Sources) else cls(source, source, source, source)


def round_input(partition: Partition, cohort: Cohort, local_epochs: int, source: Sources | int) -> RoundInput:
    """The input of one round; a function of its arguments alone."""
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


def of_one_client(round_input: RoundInput, k: int) -> RoundInput:
    """The same round with its `k`-th client alone."""
    begin, end = round_input.row_splits[k : k + 2]
    return dataclasses.replace(
        round_input,
        clients=round_input.clients[k : k + 1],
        indices=round_input.indices[begin:end],
        row_splits=np.array([0, end - begin], np.int32),
        order=round_input.order[:, begin:end],
        keys=round_input.keys[k : k + 1],
    )


def prepared_rounds(
    partition: Partition, sampler: CohortSampler, local_epochs: int, source: Sources | int, first: int, last: int
) -> Iterator[tuple[Cohort, RoundInput]]:
    """Rounds `first` to `last`, each prepared in the background while the one before it is computed."""
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
