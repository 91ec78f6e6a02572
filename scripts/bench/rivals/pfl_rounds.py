"""Rounds in pfl-research on PyTorch, its simulation in one process: pfl_rounds.py EXERCISE.npz OUT.npz"""

from __future__ import annotations

import asyncio
import queue
import sys
import threading
from collections.abc import Iterator

import numpy as np
import torch
import torch_networks as networks
from exercise import Exercise, run
from pfl.aggregate.simulate import SimulatedBackend
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.algorithm.scaffold import SCAFFOLD, SCAFFOLDParams
from pfl.callback.base import TrainingProcessCallback
from pfl.data.dataset import Dataset
from pfl.data.federated_dataset import FederatedDataset
from pfl.data.user_state import InMemoryUserStateStorage
from pfl.hyperparam import NNEvalHyperParams, NNTrainHyperParams
from pfl.metrics import Metrics, Weighted
from pfl.model.pytorch import PyTorchModel


def rounds(exercise: Exercise) -> Iterator[list[np.ndarray]]:
    """pfl drives its own loop, so it runs in a thread, which hands the weights over after each round and waits to be asked."""
    done: queue.Queue[list[np.ndarray] | BaseException] = queue.Queue(1)
    wanted = threading.Semaphore(0)

    class Handover(TrainingProcessCallback):
        def on_train_begin(self, *, model: PyTorchModel) -> Metrics:
            wanted.acquire()
            return Metrics()

        def after_central_iteration(self, aggregate_metrics: Metrics, model: PyTorchModel, *, central_iteration: int):
            done.put(networks.keras_weights(model.pytorch_model))
            wanted.acquire()
            return False, Metrics()

    def drive() -> None:
        asyncio.set_event_loop(asyncio.new_event_loop())  # which pfl expects to find
        try:
            train(exercise, Handover())
        except BaseException as error:
            done.put(error)

    threading.Thread(target=drive, daemon=True).start()
    for _ in exercise.cohorts:
        wanted.release()
        found = done.get()
        if isinstance(found, BaseException):
            raise found
        yield found


def train(exercise: Exercise, handover: TrainingProcessCallback) -> None:
    net, (x, y) = networks.network(exercise), networks.tensors(exercise)
    kind = type(net)
    kind.loss = lambda self, x, y, **_: networks.loss(self(x), y)
    kind.metrics = lambda self, x, y, **_: {"loss": Weighted(networks.loss(self(x), y).item() * len(y), len(y))}
    model = PyTorchModel(net, local_optimizer_create=torch.optim.SGD, central_optimizer=torch.optim.SGD(net.parameters(), lr=1.0))
    order = iter(exercise.cohorts.flatten().tolist())
    data = FederatedDataset(lambda user: Dataset(raw_data=[x[user], y[user]], user_id=str(user)), lambda: next(order))
    size = {"central_num_iterations": len(exercise.cohorts), "train_cohort_size": exercise.cohorts.shape[1]}
    never = {"evaluation_frequency": 10**9, "val_cohort_size": 0}
    if exercise.algorithm == "scaffold":
        algorithm = SCAFFOLD()
        params = SCAFFOLDParams(
            **size,
            **never,
            population=exercise.num_clients,
            use_gradient_as_control_variate=False,
            user_state_storage=InMemoryUserStateStorage(),
        )
    else:
        algorithm, params = FederatedAveraging(), NNAlgorithmParams(**size, **never)
    algorithm.run(
        algorithm_params=params,
        backend=SimulatedBackend(training_data=data, val_data=None),
        model=model,
        model_train_params=NNTrainHyperParams(
            local_num_epochs=1, local_learning_rate=exercise.learning_rate, local_batch_size=exercise.batch_size
        ),
        model_eval_params=NNEvalHyperParams(local_batch_size=1000),
        callbacks=[handover],
    )


if __name__ == "__main__":
    run(sys.argv[2], rounds(Exercise.load(sys.argv[1])))
