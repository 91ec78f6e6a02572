"""Aggregates a cohort's updates by one rule, on the compiled engine or in NumPy.

The suite runs this file in a process of its own for each contender: `rules.py CONTENDER CLIENTS WEIGHTS ROUNDS OUT.npz`.
"""

from __future__ import annotations

import collections
import functools
import os
import sys
import time
from collections.abc import Callable

import numpy as np
import work  # beside this file

from fedlab.aggregation import Aggregator, CoordinateMedian, Krum, Mean, TrimmedMean
from fedlab.run.start import start_tensorflow

TRIMMED, BYZANTINE = 0.1, 10  # the share on each side; the number of clients that may send arbitrary updates
AGGREGATORS: dict[str, Aggregator] = {
    "mean": Mean(),
    "median": CoordinateMedian(),
    "trimmed_mean": TrimmedMean(trim_fraction=TRIMMED),
    "krum": Krum(num_byzantine=BYZANTINE),
}


def numpy_trimmed_mean(updates: np.ndarray) -> np.ndarray:
    """Returns the mean of each column of [clients, weights] without its extremes."""
    cut = int(TRIMMED * len(updates))
    return np.sort(updates, axis=0)[cut : len(updates) - cut].mean(0)


def numpy_krum(updates: np.ndarray) -> np.ndarray:
    """Returns the update of the lowest score (Blanchard et al. 2017, section 4), by a loop over the clients."""
    nearest = len(updates) - BYZANTINE - 2
    distances = [np.square(updates - update).sum(1) for update in updates]
    return updates[np.argmin([np.sort(row)[1 : nearest + 1].sum() for row in distances])]  # position 0 is the client itself


NUMPY: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "numpy_median": lambda updates: np.median(updates, axis=0),
    "numpy_trimmed_mean": numpy_trimmed_mean,
    "numpy_krum": numpy_krum,
}


def compiled(aggregator: Aggregator, updates: np.ndarray) -> Callable[[], np.ndarray]:
    """Returns a function that runs a round, in which each client's update is its row of `updates`, and returns the result."""
    start_tensorflow("cpu", len(updates))
    import tensorflow_federated as tff

    from fedlab.algorithms.client_work import ExampleSpec
    from fedlab.engine import Compiled, RoundInput
    from fedlab.types import ExampleSet

    clients, width = updates.shape
    element = ExampleSpec((width,), np.dtype(np.float32)).element
    process = aggregator.build().create(tff.TensorType(np.float32, [width]), tff.TensorType(np.float32))

    @tff.tensorflow.computation(tff.SequenceType(tff.types.tensorflow_to_type(element)))
    def read(data):
        return data.get_single_element()["x"][0], np.float32(1)

    @tff.federated_computation(
        process.initialize.type_signature.result, tff.FederatedType(read.type_signature.parameter, tff.CLIENTS)
    )
    def next_fn(state, data):
        output = process.next(state, *tff.federated_map(read, data))
        found = tff.federated_zip(collections.OrderedDict(result=output.result, measured=output.measurements))
        return tff.learning.templates.LearningProcessOutput(output.state, found)

    iterative = tff.templates.IterativeProcess(process.initialize, next_fn)
    engine = Compiled().build(iterative, ExampleSet(updates, np.zeros(clients, np.int32), 1))
    state = engine.initialize(np.zeros(2, np.int64))
    given = RoundInput(
        round=1,
        clients=np.arange(clients),
        indices=np.arange(clients, dtype=np.int32),
        row_splits=np.arange(clients + 1, dtype=np.int32),
        order=np.zeros((1, clients), np.int32),
        keys=np.zeros((clients, 2), np.int64),
        server_key=np.zeros(2, np.int64),
    )
    return lambda: engine.next(state, given)[1]["result"]


def run(contender: str, clients: int, width: int, num_rounds: int, out: str) -> None:
    """Writes the seconds and CPU seconds of each round, and the aggregate."""
    updates = np.random.default_rng(work.SEED).standard_normal((clients, width), np.float32)
    in_numpy = NUMPY.get(contender)
    step = functools.partial(in_numpy, updates) if in_numpy else compiled(AGGREGATORS[contender], updates)
    seconds, cpu_seconds = [], []
    for _ in range(work.WARM_UP_ROUNDS + num_rounds):
        started, cpu_started = time.perf_counter(), time.process_time()
        result = step()
        seconds.append(time.perf_counter() - started)
        cpu_seconds.append(time.process_time() - cpu_started)
    np.savez(out, seconds=seconds, cpu_seconds=cpu_seconds, result=result)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    run(sys.argv[1], *map(int, sys.argv[2:5]), out=sys.argv[5])
