"""`Evaluator`: builds, evaluates and exports the model of a run, for any algorithm."""

from __future__ import annotations

import abc
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

import numpy as np

from fedlab.archive import RunFolder
from fedlab.errors import ConfigError
from fedlab.evaluation import Evaluation
from fedlab.tasks import Task
from fedlab.types import Dataset, Partition

Weights = Sequence[Any]  # tensors or arrays, trainable first


class Trained(Protocol):
    """The trained state that an evaluator reads."""

    @property
    def weights(self) -> list: ...
    @property
    def models(self) -> Sequence[list] | None: ...
    @property
    def global_model(self) -> list | None: ...
    def models_for_unseen(self, client: int) -> Sequence[list]: ...


class Evaluator(abc.ABC):
    """Evaluates one run. Built once, before the run's algorithm. Raises `FedlabError` for a model that cannot be used."""

    model: Any  # pure functions of the weights, from which a process is built
    keras: Any = None  # the Keras model from which `model` was made; None for a pair of networks
    num_weights: int
    losses: ClassVar[tuple[str, ...]] = ("test_loss",)  # losses of the weights; not finite if training has diverged
    measures_clients: ClassVar[bool] = False  # whether there are metrics of clients' own examples
    signs: ClassVar[Mapping[str, str]] = {}  # counts in a record that are above 0 only if training has diverged: name → meaning

    def __init__(self, task: Task, model: Any, dataset: Dataset, evaluation: Evaluation, seed: int):
        """`model`: the stage of that name."""
        self.task, self.dataset, self.evaluation, self.seed = task, dataset, evaluation, seed
        self._build(model)

    @abc.abstractmethod
    def _build(self, model: Any) -> None:
        """Sets `model`, `keras`, `num_weights`, and the state of the other methods."""

    @abc.abstractmethod
    def measured(self, trained: Trained, round_num: int) -> dict[str, Any]:
        """Returns the metrics of a round that is evaluated, under their names in metrics.jsonl."""

    @abc.abstractmethod
    def is_measured(self, metric: str) -> bool:
        """Returns True if `measured` returns this metric."""

    @abc.abstractmethod
    def finish(self, trained: Trained, partition: Partition, folder: RunFolder) -> dict[str, Any]:
        """Writes the files of a finished run, and returns metrics over clients. Called after `measured` of the last round."""

    def measured_unseen(self, trained: Trained, unseen: Partition) -> dict[str, Any]:
        """Returns the metrics of a round that is evaluated over the clients that are never trained."""
        return {}

    def keep(self, folder: RunFolder, round_num: int) -> None:  # noqa: B027  (most leave nothing)
        """Writes the files of round `round_num`, in addition to its record."""

    def client_predictions(self, trained: Trained, partition: Partition) -> list[np.ndarray]:
        """Returns, per client, the predictions [n, …] for `partition.evaluated`, in its order. Raises `ConfigError`."""
        raise ConfigError(f"the task of this process is {self.task.name}, which predicts nothing that could be compared.")

    def test_predictions(self, trained: Trained) -> np.ndarray:
        """Returns the predictions [n, …] for the test set. Raises `ConfigError`."""
        raise ConfigError(f"the task of this process is {self.task.name}, which predicts nothing that could be compared.")

    def keep_models(self, models: Mapping[int, Weights], partition: Partition, folder: RunFolder, round_num: int) -> None:
        """Writes the metrics of clients' models after round `round_num`. `models`: by client. Raises `ConfigError`."""
        raise ConfigError(f"the task of this process is {self.task.name}, whose models of clients have no metrics.")

    def save(self, weights: Weights, path: pathlib.Path) -> None:
        """Writes the model with these weights to a Keras file. Raises `ConfigError` if there is no single model."""
        raise ConfigError(f"the task of this process is {self.task.name}, which has no single model to save.")

    def lines(self) -> list[str]:
        """Returns lines about the model and the evaluation for the user, before the first round."""
        return [f"{self.num_weights:,} weights", *self.evaluation.lines()]
