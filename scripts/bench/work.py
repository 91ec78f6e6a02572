"""The work all contenders do: data, clients, cohorts, initial weights. Needs no TensorFlow until weights are asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fedlab.cohort import Uniform
from fedlab.data import Digits, Mnist
from fedlab.errors import DataError
from fedlab.models import Cnn, Mlp, Perceptron
from fedlab.partition import Iid
from fedlab.types import Dataset, Partition

SEED = 0
WARM_UP_ROUNDS = 2
NUM_EXAMPLES = 60_000  # MNIST's training set


@dataclasses.dataclass(frozen=True)
class Workload:
    """Federated averaging: all examples divided evenly over `num_clients`, one local epoch, plain SGD, server rate 1."""

    title: str
    model: Callable[..., Any]
    num_clients: int
    clients_per_round: int
    batch_size: int
    learning_rate: float
    timed_rounds: int  # unless --rounds says otherwise


WORKLOADS = {
    "W1": Workload("logistic regression, 10 clients × 60 examples", Perceptron(), 1_000, 10, 10, 0.03, 30),
    "W2": Workload("MLP 784-128-10, 100 clients × 60 examples", Mlp(), 1_000, 100, 20, 0.02, 20),
    "W3": Workload("CNN of 225,034 weights, 10 clients × 100 examples", Cnn(), 600, 10, 20, 0.05, 20),
    "W4": Workload("CNN of 225,034 weights, 10 clients × 6,000 examples", Cnn(), 10, 10, 64, 0.05, 3),
}


@dataclasses.dataclass(frozen=True)
class Task:
    """A workload with its data. Every client visits its examples in the order in which the partition names them."""

    workload: Workload
    dataset: Dataset
    partition: Partition
    num_rounds: int  # with the warm-up

    @property
    def sampler(self) -> Uniform:
        return Uniform(clients_per_round=self.workload.clients_per_round)

    def cohorts(self) -> Iterator[np.ndarray]:
        """The clients of each round."""
        for round_num in range(1, self.num_rounds + 1):
            yield self.sampler(len(self.partition), SEED, round_num).clients

    def visited_clients(self) -> list[int]:
        """Everyone who is in a cohort of this task."""
        return sorted({int(c) for cohort in self.cohorts() for c in cohort})

    def client(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """x float32 [n, 28, 28, 1] in [0, 1] and y int32 [n], for those who do not scale images in the graph."""
        mine = self.dataset.train.select(self.partition.indices[number])
        return scaled(mine.x), mine.y

    def keras_model(self) -> Any:
        return self.workload.model(self.dataset.train.x.shape[1:], self.dataset.train.num_classes)

    def initial_weights(self) -> list[np.ndarray]:
        """The same arrays in every process: kernel, bias, kernel, bias, …"""
        import tensorflow as tf

        tf.keras.utils.set_random_seed(SEED)
        return self.keras_model().get_weights()


def choose_data(wanted: str | None) -> str:
    """`wanted`, or mnist where it is found, or else digits. Raises `DataError` where MNIST is wanted and not found."""
    if wanted == "digits":
        return wanted
    try:
        Mnist().verify()
        return "mnist"
    except DataError:
        if wanted:
            raise
        return "digits"


def load(workload: Workload, data: str, num_rounds: int) -> Task:
    """The task of `num_rounds` timed rounds; the digits are repeated until there are as many as in MNIST."""
    dataset = {"digits": Digits, "mnist": Mnist}[data]().load(SEED)
    train = dataset.train.select(np.arange(NUM_EXAMPLES) % len(dataset.train))
    partition = Iid(num_clients=workload.num_clients)(train, SEED)
    return Task(workload, dataclasses.replace(dataset, train=train), partition, WARM_UP_ROUNDS + num_rounds)


def scaled(images: np.ndarray) -> np.ndarray:
    """uint8 → float32 in [0, 1]."""
    return images.astype(np.float32) / 255
