"""Trainings in progress, as the loop over rounds drives them: a TFF process on an engine, or a process per client."""

from __future__ import annotations

import abc
import concurrent.futures
import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fedlab import cores, randomness
from fedlab.algorithms.base import Parts, Setting
from fedlab.engine import Engine, RoundInput, State
from fedlab.errors import ConfigError, FedlabError
from fedlab.privacy import NoPrivacy
from fedlab.secure import ServerView
from fedlab.stopping import Interruption
from fedlab.types import Cohort

_NAMES = {"client_work/train/": "train_", "client_work/": "", "finalizer/": "server_"}  # prefixes of metrics: TFF's → fedlab's
_EXAMPLES = "client_work/train/num_examples"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The result of a round."""

    num_clients: int  # clients whose update was used
    num_dropped: int  # sampled clients whose update was not used
    bytes_down: int  # to all clients together
    bytes_up: int
    metrics: dict[str, Any]  # with the names of metrics.jsonl


class Trainer(abc.ABC):
    """A training in progress.

    A checkpoint stores `state` alone: after `restore(state)`, `next` returns the same as in an uninterrupted training.
    """

    seconds: dict[str, float]  # per phase, with the manifest's names
    measures: tuple[str, ...] = ()  # names of the metrics from `measured`

    @property
    @abc.abstractmethod
    def weights(self) -> list:
        """Returns the tensors of the global model, trainable first; or of every client's model, one client after the other.

        If clients share only a part of their models, returns that part.
        """

    @property
    def hashed(self) -> list:
        """Returns the tensors of `weights_hash` in a round's record: all trained weights, or tensors that follow from them."""
        return self.weights

    @property
    def observed(self) -> ServerView | None:
        """Returns the server's view of the last round; None if it is not recorded."""
        return None

    @property
    def models(self) -> Sequence[list] | None:
        """Returns the weights of each client's own model, as they are when they are read; None if there is one model for all."""
        return None

    @property
    def global_model(self) -> list | None:
        """Returns the weights of the whole model that clients share next to their own ones; None if there is no such model."""
        return None

    @property
    def unseen_model(self) -> str:
        """Returns, in words, the model of a client that is never trained; "" if it has none."""
        return "" if self.models is not None and self.global_model is None else "the global model"

    def models_for_unseen(self, client: int) -> Sequence[list]:
        """Returns the models among which the client at this position of `partition.unseen` chooses the one with the smallest loss
        on its examples (without those that it holds out): usually only the global model; none if it has no model.
        """
        if not self.unseen_model:
            return []
        shared = self.global_model
        return [self.weights if shared is None else shared]

    @property
    @abc.abstractmethod
    def state(self) -> list:
        """Returns tensors, arrays or `fedlab.rows.Pieces` that are no longer modified, always in the same order."""

    @abc.abstractmethod
    def restore(self, state: Sequence[np.ndarray]) -> None:
        """Continues from a saved `state`. Raises `FedlabError` if it belongs to another training."""

    @abc.abstractmethod
    def next(self, cohort: Cohort, given: RoundInput) -> Outcome:
        """Computes a round, which may have no clients."""

    def measured(self) -> dict[str, Any]:
        """Returns the algorithm's own metrics of an evaluated round."""
        return {}

    def lines(self) -> list[str]:
        """Returns notes for the user before the first round."""
        return []

    def described(self) -> dict[str, Any]:
        """Returns the algorithm's entries in the manifest."""
        return {}

    @abc.abstractmethod
    def close(self) -> None:
        """Releases its resources."""


class ProcessTrainer(Trainer):
    """A TFF process on an engine. Its state is the process's without the noise in it, which could otherwise be subtracted."""

    def __init__(self, process: tff.templates.IterativeProcess, parts: Parts, setting: Setting):
        self._parts, self._setting = parts, setting
        if self._sent_model.statistics and type(setting.privacy) is not NoPrivacy:
            raise ConfigError(
                "this model has batch normalization, and a privacy mechanism cannot protect its statistics: use layer or group "
                "normalization, or process=fed_bn, which does not send them."
            )
        self._engine: Engine = setting.engine.build(process, setting.dataset.train, setting.summing)
        with Interruption():  # an exception from TFF's runtime could be lost while the runtime starts its worker
            self._state: State = self._engine.initialize(randomness.key(setting.seed, "initial state"))
        self.seconds = self._engine.seconds  # the engine may add to some of them
        # Weights that never change need not be sent in every round
        self._bytes_down = self._engine.bytes_down - self._sent_model.fixed_bytes

    @property
    def _sent_model(self) -> Any:
        """Returns the functional model whose weights server and clients exchange."""
        return self._parts.model

    @property
    def weights(self) -> list:
        return self._weights_in(self._state)

    def _weights_in(self, state: State) -> list:
        return [tensor for name, tensor in zip(self._engine.state_names, state) if name[:1] == ("global_model_weights",)]

    @property
    def observed(self) -> ServerView | None:
        return self._engine.observed

    @property
    def state(self) -> list:
        return self._state_of_process

    @property
    def _state_of_process(self) -> list:
        return [tensor for tensor, is_noise in zip(self._state, self._is_noise) if not is_noise]

    @property
    def _is_noise(self) -> list[bool]:
        """Returns, for each tensor of the process's state, whether it is noise."""
        return [not set(self._setting.privacy.noise_state).isdisjoint(name) for name in self._engine.state_names]

    def restore(self, state: Sequence[np.ndarray]) -> None:
        require_same_shapes(state, self._state_of_process)
        saved = iter(state)
        merged = [own if is_noise else tf.constant(next(saved)) for own, is_noise in zip(self._state, self._is_noise)]
        if any(self._is_noise):
            drawn = self._advanced(int(merged[self._counter]) - int(self._state[self._counter]))
            merged = [new if is_noise else kept for new, kept, is_noise in zip(drawn, merged, self._is_noise)]
        self._state = merged

    @property
    def _counter(self) -> int:
        """Returns the position of the round counter in the process's state, where client work begins."""
        return next(i for i, name in enumerate(self._engine.state_names) if name[0] == "client_work")

    def _advanced(self, num_rounds: int) -> State:
        """Returns the process's state after `num_rounds` rounds without clients: its noise is that of any other rounds."""
        state, empty = self._state, self._empty()
        for _ in range(num_rounds):
            state, _ = self._engine.next(state, empty)
        return state

    def _empty(self) -> RoundInput:
        """Returns a round without clients."""
        return RoundInput.empty(self._setting.local_epochs, randomness.key(self._setting.seed, "server", 1))

    def next(self, cohort: Cohort, given: RoundInput) -> Outcome:
        metrics: dict[str, Any] = {}
        if len(cohort.clients) or self._setting.privacy.adds_noise:  # without reports, only noise changes the model
            metrics = self._computed(given)
        return self._outcome(cohort, metrics)

    def _computed(self, given: RoundInput) -> dict[str, Any]:
        """Computes a round; returns the process's metrics by path."""
        self._state, metrics = self._engine.next(self._state, given)
        return metrics

    def _outcome(self, cohort: Cohort, metrics: dict[str, Any]) -> Outcome:
        """Returns the result of a round. Dropped clients received the model and returned nothing."""
        sent, returned = len(cohort.clients) + len(cohort.dropped), len(cohort.clients)
        secure = {k.partition("/")[2]: v for k, v in metrics.items() if k.startswith("secure/")}
        bytes_up, bytes_down = secure.pop("bytes_up", returned * self._engine.bytes_up), secure.pop("bytes_down", 0)
        returned = secure.pop("num_included", returned)
        found = {f"secure_{name}": value for name, value in secure.items()}
        for path, value in metrics.items():
            if path.startswith("secure/") or _over_nobody(path, value, not returned):
                continue
            prefix = next((p for p in _NAMES if path.startswith(p)), "")
            found[_NAMES.get(prefix, "") + path[len(prefix) :]] = value.item() if np.ndim(value) == 0 else value.tolist()
        return Outcome(returned, sent - returned, sent * self._bytes_down + bytes_down, bytes_up, found)

    def close(self) -> None:
        self._engine.close()


class LocalTrainer(ProcessTrainer):
    """One process with one client, shared by all clients: an engine's `next` is a function of its state argument.

    State: that of the process, once per client.
    """

    def __init__(self, process: tff.templates.IterativeProcess, parts: Parts, setting: Setting):
        super().__init__(process, parts, setting)
        self._states: list[State] = [self._state] * len(setting.partition)

    @property
    def models(self) -> list[list]:
        return [self._weights_in(state) for state in self._states]

    @property
    def weights(self) -> list:
        return [tensor for weights in self.models for tensor in weights]

    @property
    def state(self) -> list:
        return [tensor for state in self._states for tensor in state]

    def restore(self, state: Sequence[np.ndarray]) -> None:
        require_same_shapes(state, self.state)
        size = len(self._state)
        self._states = [[tf.constant(t) for t in state[i : i + size]] for i in range(0, len(state), size)]

    def _computed(self, given: RoundInput) -> dict[str, Any]:
        def train(k: int) -> dict[str, Any]:
            c = int(given.clients[k])
            self._states[c], metrics = self._engine.next(self._states[c], given.of_one_client(k))
            return metrics

        # Each client is one thread of the engine
        with concurrent.futures.ThreadPoolExecutor(cores.available() if self._engine.side_by_side else 1) as pool:
            return _together(list(pool.map(train, range(len(given.clients)))))

    def _outcome(self, cohort: Cohort, metrics: dict[str, Any]) -> Outcome:
        return dataclasses.replace(super()._outcome(cohort, metrics), bytes_down=0, bytes_up=0)


def _together(each: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Combines the metrics of several clients into one round's: means over their examples, sums of counts."""
    if len(each) == 1:
        return each[0]
    examples = np.array([metrics[_EXAMPLES] for metrics in each])

    def total(path: str) -> Any:
        values = np.array([metrics[path] for metrics in each])
        if path.startswith("client_work/train/") and path != _EXAMPLES:
            counted = examples > 0  # an update that was left out has no loss
            if not counted.any():
                return math.nan
            return np.sum(values[counted] * examples[counted]) / np.sum(examples[counted])
        return values.sum(0)

    return {path: total(path) for path in each[0]}


def _over_nobody(name: str, value: Any, nobody: bool) -> bool:
    """Returns True if a metric covers no client: no client reported, or all were left out, so that a mean is NaN."""
    return name.startswith("client_work/") and (nobody or (np.ndim(value) == 0 and bool(np.isnan(value))))


def require_same_shapes(saved: Sequence[np.ndarray], needed: Sequence[Any]) -> None:
    """Raises `FedlabError` if `saved` cannot replace `needed`, tensor by tensor."""
    kinds = [[(np.dtype(getattr(t.dtype, "as_numpy_dtype", t.dtype)).str, tuple(t.shape)) for t in ts] for ts in (saved, needed)]
    if kinds[0] != kinds[1]:
        raise FedlabError("the checkpoint belongs to another model or process than this run's.")
