"""Unseen clients: clients that are never trained, on which a model is evaluated."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

import numpy as np
from pydantic import BeforeValidator, Field

from fedlab.errors import DataError
from fedlab.ragged import joined
from fedlab.randomness import generator
from fedlab.types import Partition


def _number_or_share(given: Any) -> Any:
    is_number = isinstance(given, int) and not isinstance(given, bool) and given >= 0
    if not (is_number or (isinstance(given, float) and 0 <= given < 1)):
        raise ValueError("must be a number of clients, such as 20, or a share of them from 0 to below 1, such as 0.2")
    return given


NumberOrShare = Annotated[int | float, Field(ge=0), BeforeValidator(_number_or_share)]


def num_unseen(unseen: float, num_clients: int) -> int:
    """Returns the number of clients that are never trained, at least one unless `unseen` is 0.

    `unseen`: an integer is a number of clients, a float below 1 a share of them. Raises `DataError` if none or all would be
    unseen.
    """
    count = unseen if isinstance(unseen, int) else round(unseen * num_clients)
    if unseen and not 0 < count < num_clients:
        raise DataError(
            f"partition.unseen_clients={unseen:g} of {num_clients:,} {'client' if num_clients == 1 else 'clients'} is "
            f"{count:,}: at least one client must be trained, and at least one unseen. Change it, or use 0."
        )
    return int(count)


def set_aside(partition: Partition, unseen: float, seed: int) -> Partition:
    """Returns the partition of the clients that take part in training, whose `unseen` has the others, drawn at random.

    `unseen` as in `num_unseen`; 0 returns the partition unchanged. Both parts keep the order and the names of the clients.
    """
    count = num_unseen(unseen, len(partition))
    if not count:
        return partition
    drawn = generator(seed, "unseen clients").permutation(len(partition))
    trained, unseen_part = (partition.select(np.sort(places)) for places in (drawn[count:], drawn[:count]))
    return dataclasses.replace(trained, unseen=unseen_part)


def everybody(partition: Partition) -> Partition:
    """Returns one partition of the clients that take part in training, followed by the unseen ones."""
    if partition.unseen is None:
        return partition
    unseen = partition.unseen
    return Partition(joined(partition.client_ids, unseen.client_ids), joined(partition.indices, unseen.indices))
