"""`Learner`: what is trained round by round, as the round loop sees it."""

from __future__ import annotations

import abc
import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fedlab.archive import RunFolder
from fedlab.archive.metrics import Record
from fedlab.errors import ConfigError, FedlabError
from fedlab.randomness import Secret
from fedlab.report.composition import Claim
from fedlab.run.experiment import Experiment
from fedlab.types import Dataset, Partition


class Learner(abc.ABC):
    """Built from an experiment and its data; raises `FedlabError` for what cannot be built. `close` ends what it has started.

    `state` is all that a checkpoint has to hold: what `rounds` yields after `restore(state)` is what it would have yielded.
    """

    num_rounds: int  # in all: as many as asked for, or as the privacy budget allows
    num_weights: int
    seconds: dict[str, float]  # per phase, as the manifest names them

    def __init__(self, experiment: Experiment, dataset: Dataset, partition: Partition, secret: Secret | None = None):
        """`secret`: from which the draws that ε rests on follow; None: a fresh one, which is kept nowhere."""
        self.experiment, self.dataset, self.partition, self.secret = experiment, dataset, partition, secret

    @property
    @abc.abstractmethod
    def state(self) -> list:
        """Tensors or arrays that nobody changes any more, always in the same order."""

    @abc.abstractmethod
    def restore(self, state: Sequence[np.ndarray]) -> None:
        """Goes on from a saved `state`. Raises `FedlabError` where it belongs to another learner."""

    @abc.abstractmethod
    def rounds(self, first: int) -> Iterator[Record]:
        """Computes rounds `first` to the last and yields the record of each. Between two of them it is safe to stop.

        A record has round, seconds, num_clients, num_dropped, bytes_down, bytes_up, weights_hash, and what was measured.
        """

    @abc.abstractmethod
    def finish(self, folder: RunFolder) -> dict[str, Any]:
        """The final figures, for summary.json; the final model and what else a finished run leaves go into `folder`."""

    @abc.abstractmethod
    def close(self) -> None:
        """Ends what was started."""

    def is_measured(self, metric: str) -> bool:
        """Whether only rounds that are evaluated have this metric in their records."""
        return metric.startswith("test_")

    def is_due(self, metric: str, round_num: int) -> bool:
        """Whether round `round_num` has this metric even where it is not the last, which is always evaluated."""
        return not self.is_measured(metric) or round_num % self.experiment.eval_every == 0

    def client_probabilities(self) -> list[np.ndarray]:
        """Per client the class probabilities [n, classes] of `partition.evaluated`, in its order. Raises `ConfigError`."""
        raise ConfigError("this process trains no classifier, and gives no class probabilities.")

    def keep(self, folder: RunFolder, round_num: int) -> None:  # noqa: B027  (most leave nothing)
        """Writes what round `round_num`, the last that was yielded, leaves besides its record."""

    def lines(self) -> list[str]:
        """What a user should know before the first round."""
        return [f"{self.num_weights:,} weights"]

    def claim(self) -> Claim:
        """What the whole training promises to its users or examples."""
        return Claim(None)

    def described(self) -> dict[str, Any]:
        """What the manifest says of it."""
        return {}


def require_same_shapes(saved: Sequence[np.ndarray], needed: Sequence[Any]) -> None:
    """Raises `FedlabError` where `saved` cannot take the place of `needed`, tensor by tensor."""
    kinds = [[(np.dtype(getattr(t.dtype, "as_numpy_dtype", t.dtype)).str, tuple(t.shape)) for t in ts] for ts in (saved, needed)]
    if kinds[0] != kinds[1]:
        raise FedlabError("the checkpoint belongs to another model or process than this run's.")


def weights_hash(weights: Sequence[Any]) -> str:
    """16 hexadecimal digits of the SHA-256 over all tensors' bytes: equal for equal bits, in practice only for them."""
    digest = hashlib.sha256()
    for tensor in weights:
        digest.update(np.ascontiguousarray(tensor).data)
    return digest.hexdigest()[:16]
