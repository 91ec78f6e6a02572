"""fedlab's own rounds, as its contenders in several suites need them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator, Sequence
from typing import Any

import numpy as np
import work  # beside this file

from fedlab.algorithms import LocalTraining, Parts, Process, Setting
from fedlab.algorithms.optimizers import Sgd
from fedlab.engine import EngineSpec
from fedlab.privacy import NoPrivacy
from fedlab.run.rounds import prepared_rounds
from fedlab.run.start import start_tensorflow

Rounds = Generator[Sequence[np.ndarray], None, None]


def rounds(
    task: work.Task, spec: EngineSpec, algorithm: Process, client: LocalTraining, rate: float, model: Callable[[], Any]
) -> Rounds:
    """The weights after each round of a process on one of fedlab's engines, with a run's threads and preparation ahead.

    `model`: builds the functional model, once TensorFlow has started.
    """
    start_tensorflow(spec.device, task.workload.clients_per_round)
    from fedlab.algorithms.client_work import ExampleSpec

    train, sizes = task.dataset.train, task.partition.sizes
    parts = Parts(
        model(),
        ExampleSpec.of(train),
        client,
        Sgd(learning_rate=rate),
        num_clients=len(sizes),
        num_examples=int(sizes.sum()),
    )
    setting = Setting(work.SEED, task.dataset, task.partition, spec, None, NoPrivacy(), local_epochs=1)
    trainer = algorithm.start(parts, setting)
    try:
        for cohort, drawn in prepared_rounds(task.partition, task.sampler, 1, work.SEED, 1, task.num_rounds):
            # fedlab pays for drawing an order, and then visits the examples in the order in which the others do
            stored = np.concatenate([np.arange(n, dtype=np.int32) for n in np.diff(drawn.row_splits)])
            trainer.next(cohort, dataclasses.replace(drawn, order=stored[np.newaxis]))
            yield [np.asarray(w) for w in trainer.weights]
    finally:
        trainer.close()
