"""The work all contenders do: data, clients, cohorts, initial weights. Needs no TensorFlow until weights are asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np

from fedlab.algorithms import FedAvg, Process, Scaffold
from fedlab.cohort import Uniform
from fedlab.data import Digits, Mnist, Shakespeare
from fedlab.errors import DataError
from fedlab.models import Cnn, Mlp, Perceptron, Recurrent, ResNet
from fedlab.partition import Iid
from fedlab.types import Dataset, ExampleSet, Partition

SEED = 0
WARM_UP_ROUNDS = 2
NUM_EXAMPLES = 60_000  # MNIST's training set


@dataclasses.dataclass(frozen=True)
class Workload:
    """All examples divided evenly over `num_clients`, one local epoch, plain SGD, server rate 1.

    `examples`: grey images 28×28; the same as colour images 32×32, with a border and three equal channels; or text, sequences
    of 80 characters of Shakespeare.
    """

    title: str
    model: Callable[..., Any]
    num_clients: int
    clients_per_round: int
    batch_size: int
    learning_rate: float
    timed_rounds: int  # unless --rounds says otherwise
    examples: Literal["grey", "colour", "text"] = "grey"
    num_examples: int = NUM_EXAMPLES
    algorithm: Process = dataclasses.field(default_factory=FedAvg)


WORKLOADS = {
    "W1": Workload("logistic regression, 10 clients × 60 examples", Perceptron(), 1_000, 10, 10, 0.03, 30),
    "W2": Workload("MLP 784-128-10, 100 clients × 60 examples", Mlp(), 1_000, 100, 20, 0.02, 20),
    "W3": Workload("CNN of 225,034 weights, 10 clients × 100 examples", Cnn(), 600, 10, 20, 0.05, 20),
    "W4": Workload("CNN of 225,034 weights, 10 clients × 6,000 examples", Cnn(), 10, 10, 64, 0.05, 3),
    "S1": Workload(
        "SCAFFOLD, CNN of 225,034 weights, 10 clients × 100 examples", Cnn(), 600, 10, 20, 0.05, 20, algorithm=Scaffold()
    ),
    "L1": Workload("LSTM of 820,522 weights, 10 clients × 50 × 80 characters", Recurrent(), 700, 10, 10, 0.5, 5, "text", 35_000),
    "R1": Workload("ResNet-18 of 11,173,962 weights, 10 clients × 100 examples", ResNet(), 60, 10, 20, 0.02, 3, "colour", 6_000),
}
NUM_SCORED = {"grey": 10_000, "colour": 1_000, "text": 500}  # test examples of which accuracies are computed


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
        """x and y int32 [n, …]; images float32 in [0, 1], for those who do not scale them in the graph."""
        mine = self.dataset.train.select(self.partition.indices[number])
        return scaled(mine.x), mine.y

    def keras_model(self) -> Any:
        return self.workload.model(self.dataset.train.x.shape[1:], self.dataset.train.task.num_outputs)

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
    """The task of `num_rounds` timed rounds; data sets with fewer examples than the workload has are repeated."""
    dataset = (Shakespeare() if workload.examples == "text" else {"digits": Digits, "mnist": Mnist}[data]()).load(SEED)
    train = dataset.train.select(np.arange(workload.num_examples) % len(dataset.train))
    test = dataset.test
    if workload.examples == "colour":
        train, test = coloured(train), coloured(test)
    partition = Iid(num_clients=workload.num_clients)(train, SEED)
    return Task(workload, dataclasses.replace(dataset, train=train, test=test), partition, WARM_UP_ROUNDS + num_rounds)


def coloured(images: ExampleSet) -> ExampleSet:
    """28×28×1 → 32×32×3."""
    bordered = np.pad(images.x, ((0, 0), (2, 2), (2, 2), (0, 0)))
    return dataclasses.replace(images, x=np.repeat(bordered, 3, axis=-1))


def scaled(x: np.ndarray) -> np.ndarray:
    """uint8 → float32 in [0, 1]; others as they are."""
    return x.astype(np.float32) / 255 if x.dtype == np.uint8 else x
