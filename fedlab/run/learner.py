"""`Learner`: the object that the round loop trains."""

from __future__ import annotations

import abc
import functools
import hashlib
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from fedlab.archive import RunFolder
from fedlab.archive.metrics import Record
from fedlab.composition import Claim
from fedlab.errors import ConfigError, FedlabError
from fedlab.randomness import Secret
from fedlab.run.experiment import Experiment, task_of
from fedlab.tasks import Task
from fedlab.types import Dataset, Partition

Inputs = tuple[Dataset, Partition]


class Learner(abc.ABC):
    """Built from an experiment and its data; raises `FedlabError` if it cannot be built. `close` releases its resources.

    A checkpoint stores `state` alone: after `restore(state)`, `rounds` yields the same as in an uninterrupted run.
    """

    num_rounds: int  # planned: as requested, or as the privacy budget allows
    num_weights: int
    seconds: dict[str, float]  # per phase, with the manifest's names
    _end: int | None = None  # the round given to `end_after`

    def __init__(self, experiment: Experiment, dataset: Dataset, partition: Partition):
        self.experiment, self.dataset, self.partition = experiment, dataset, partition

    @property
    def last_round(self) -> int:
        """Returns the last round that `rounds` computes: `num_rounds`, or that of `end_after`."""
        return self.num_rounds if self._end is None else self._end

    def end_after(self, round_num: int) -> None:
        """Makes round `round_num` the last one. ε and the noise remain those of all planned rounds."""
        self._end = round_num

    def task(self, arm: str = "") -> Task:
        """Returns the task of the run, or of one of its arms."""
        return task_of(self.experiment, self.dataset, self.partition)

    @property
    @abc.abstractmethod
    def state(self) -> list:
        """Returns tensors, arrays or `fedlab.rows.Pieces` that are no longer modified, always in the same order."""

    @property
    @abc.abstractmethod
    def weights_hash(self) -> str:
        """Returns the hash of the current weights, which is in the record of the newest round."""

    @abc.abstractmethod
    def restore(self, state: Sequence[np.ndarray]) -> None:
        """Continues from a saved `state`. Raises `FedlabError` if it belongs to another learner."""

    @abc.abstractmethod
    def rounds(self, first: int) -> Iterator[Record]:
        """Computes rounds `first` to the last and yields the record of each. Stopping between two of them is safe.

        A record has round, seconds, num_clients, num_dropped, bytes_down, bytes_up, weights_hash, and the metrics.
        """

    @abc.abstractmethod
    def finish(self, folder: RunFolder) -> dict[str, Any]:
        """Returns the final metrics, for summary.json; writes the final model and other final files into `folder`."""

    @abc.abstractmethod
    def close(self) -> None:
        """Releases its resources."""

    def is_measured(self, metric: str) -> bool:
        """Returns True if only evaluated rounds have this metric in their records."""
        return metric.startswith("test_")

    def is_due(self, metric: str, round_num: int) -> bool:
        """Returns True if round `round_num` has this metric even if it is not the last, which is always evaluated."""
        return not self.is_measured(metric) or round_num % self.experiment.eval_every == 0

    def client_predictions(self) -> list[np.ndarray]:
        """Returns per client the predictions [n, …] for `partition.evaluated`, in its order. Raises `ConfigError`."""
        raise ConfigError("this learner predicts nothing.")

    def test_predictions(self) -> np.ndarray:
        """Returns the predictions [n, …] for the test set. Raises `ConfigError`."""
        raise ConfigError("this learner predicts nothing.")

    def keep(self, folder: RunFolder, round_num: int) -> None:  # noqa: B027  (most leave nothing)
        """Writes the files of round `round_num`, the newest, in addition to its record."""

    def lines(self) -> list[str]:
        """Returns notes for the user before the first round."""
        return [f"{self.num_weights:,} weights"]

    def claim(self) -> Claim:
        """Returns the privacy claim of the whole training for its users or examples."""
        return Claim(None)

    def described(self) -> dict[str, Any]:
        """Returns the learner's entries in the manifest."""
        return {}


def require_finite(record: Record, weights: Sequence[Any], losses: Sequence[str], also: Sequence[str] = ()) -> None:
    """Raises `FedlabError` if a loss in the round's record, or a weight after it, is not finite.

    `losses`: their names. `also`: other signs, in words, that training has diverged.
    """
    found = [f"{name} is {record[name]}" for name in losses if not np.isfinite(record.get(name, 0.0))]
    if not all(np.isfinite(w).all() for w in weights):
        found.append("the weights hold values that are not finite")
    found += also
    if found:
        raise FedlabError(
            f"round {record['round']}: {' and '.join(found)}, the model has diverged: lower client_optimizer.learning_rate or "
            "server_optimizer.learning_rate (of a GAN, or of split learning, that of the process too)."
        )


def weights_hash(weights: Sequence[Any]) -> str:
    """Returns 16 hexadecimal digits of the SHA-256 over all tensors' bytes: equal for equal bits, in practice only for them."""
    digest = hashlib.sha256()
    for tensor in weights:
        digest.update(np.ascontiguousarray(tensor).data)
    return digest.hexdigest()[:16]


def build_learner(
    experiment: Experiment,
    dataset: Dataset,
    partition: Partition,
    arms: Mapping[str, Inputs],
    secrets: Mapping[str, Secret] | Secret | None = None,
    scratch: pathlib.Path | None = None,
) -> Learner:
    """Returns the learner of `experiment`, or that of all its arms. Raises `FedlabError`.

    `arms`: the data of each. `secrets`: of the run, or of each arm, for the draws that ε relies on; None: new ones, which are not
    stored. `scratch`: the folder for temporary files; None: the system's.
    """
    from fedlab.run.training import Training

    if not experiment.arms:
        assert secrets is None or isinstance(secrets, Secret)
        return Training(experiment, dataset, partition, secrets, scratch)
    from fedlab.run.arms import Arms

    assert not isinstance(secrets, Secret)
    given = secrets or {}
    builders = {n: functools.partial(Training, experiment.arms[n], *arms[n], given.get(n), scratch) for n in arms}
    return Arms(experiment, dataset, partition, builders)
