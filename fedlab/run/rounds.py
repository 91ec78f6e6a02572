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


def round_input(partition: Partition, cohort: Cohort, local_epochs: int, seed: int) -> RoundInput:
    """The input of one round; a function of its arguments alone."""
    mine = [partition.indices[c] for c in cohort.clients]
    sizes = [len(i) for i in mine]
    orders = [visiting_order(n, local_epochs, seed, cohort.round, int(c)) for n, c in zip(sizes, cohort.clients)]
    keys = [randomness.key(seed, "client", cohort.round, int(c)) for c in cohort.clients]
    return RoundInput(
        round=cohort.round,
        clients=np.asarray(cohort.clients, np.int64),
        indices=np.concatenate([*mine, np.zeros(0)]).astype(np.int32),
        row_splits=np.cumsum([0, *sizes]).astype(np.int32),
        order=np.concatenate([*orders, np.zeros((local_epochs, 0), np.int32)], axis=1).astype(np.int32),
        keys=np.array(keys, np.int64).reshape(-1, 2),
        server_key=randomness.key(seed, "server", cohort.round),
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
    partition: Partition, sampler: CohortSampler, local_epochs: int, seed: int, first: int, last: int
) -> Iterator[tuple[Cohort, RoundInput]]:
    """Rounds `first` to `last`, each prepared in the background while the one before it is computed."""

    def prepare(round_num: int) -> tuple[Cohort, RoundInput]:
        cohort = sampler(len(partition), seed, round_num)
        return cohort, round_input(partition, cohort, local_epochs, seed)

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        ahead = pool.submit(prepare, first)
        for round_num in range(first, last + 1):
            ready = ahead.result()
            if round_num < last:
                ahead = pool.submit(prepare, round_num + 1)
            yield ready
