"""A learner whose rounds are those of a TFF process: engine, cohorts, records, privacy."""

from __future__ import annotations

import abc
import dataclasses
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fedlab import randomness
from fedlab.archive import RunFolder, make_folder, replacing
from fedlab.archive.clients import write_ledger
from fedlab.archive.metrics import Record
from fedlab.engine import Engine, RoundInput
from fedlab.randomness import Secret
from fedlab.report.composition import Claim
from fedlab.run.experiment import Experiment
from fedlab.run.interrupt import Interruption
from fedlab.run.learner import Learner, require_same_shapes, weights_hash
from fedlab.run.privacy import PrivacyAccount
from fedlab.run.rounds import prepared_rounds, round_input
from fedlab.types import Cohort, Dataset, Partition


class FederatedLearner(Learner):
    """Builds the engine of whatever process `_process` gives. A subclass says what is measured, and what is left in the end."""

    def __init__(self, experiment: Experiment, dataset: Dataset, partition: Partition, secret: Secret | None = None):
        super().__init__(experiment, dataset, partition, secret)
        self.privacy = PrivacyAccount(experiment, partition, secret)
        self.num_rounds = self.privacy.num_rounds
        process = self._process()
        self._engine: Engine = experiment.engine.build(process, dataset.train, experiment.summing(len(partition)))
        with Interruption():  # an exception out of TFF's runtime, while it starts its worker, might be lost in there
            self._state = self._engine.initialize(randomness.key(experiment.seed, "initial state"))
        self._sent: list = []  # the weights that clients were sent in the newest round
        self.seconds = self._engine.seconds  # per phase; the engine may add to some of them
        self.seconds.update(training=0.0, evaluation=0.0)

    @abc.abstractmethod
    def _process(self) -> tff.templates.IterativeProcess:
        """The process, whose clients' data are the training examples. Called once, before there is an engine."""

    @abc.abstractmethod
    def _measured(self, round_num: int) -> dict[str, Any]:
        """What is measured after a round that is to be evaluated."""

    def _check(self, record: Record) -> None:
        """Raises `FedlabError` where it makes no sense to go on after the round of `record`, which has been kept."""

    @property
    def weights(self) -> list:
        """The global model's tensors, trainable first."""
        names = self._engine.state_names
        return [tensor for name, tensor in zip(names, self._state) if name[0] == "global_model_weights"]

    @property
    def state(self) -> list:
        """That of the process, without the noise in it: who had that and the model could take the noise off."""
        return [tensor for tensor, is_noise in zip(self._state, self._is_noise) if not is_noise]

    @property
    def _is_noise(self) -> list[bool]:
        """Of each tensor of the process's state."""
        return [not set(self.experiment.privacy.noise_state).isdisjoint(name) for name in self._engine.state_names]

    def restore(self, state: Sequence[np.ndarray]) -> None:
        require_same_shapes(state, self.state)
        saved = iter(state)
        merged = [own if is_noise else tf.constant(next(saved)) for own, is_noise in zip(self._state, self._is_noise)]
        if any(self._is_noise):
            drawn = self._advanced(int(merged[self._counter]) - int(self._state[self._counter]))
            merged = [new if is_noise else kept for new, kept, is_noise in zip(drawn, merged, self._is_noise)]
        self._state = merged

    @property
    def _counter(self) -> int:
        """The place in the process's state of the number of rounds that it has gone through."""
        return self._engine.state_names.index(("client_work",))

    def _advanced(self, num_rounds: int) -> list:
        """The process's state after so many rounds in which nobody took part: its noise is that of any other rounds."""
        state, nobody = self._state, Cohort(1, np.zeros(0, np.int64), np.zeros(0, np.int64))
        empty = round_input(self.partition, nobody, self.experiment.client.local_epochs, self.experiment.seed)
        for _ in range(num_rounds):
            state, _ = self._engine.next(state, empty)
        return state

    def rounds(self, first: int) -> Iterator[Record]:
        experiment = self.experiment
        rounds = prepared_rounds(
            self.partition, experiment.cohort, experiment.client.local_epochs, self.privacy.sources, first, self.num_rounds
        )
        started = time.perf_counter()
        for cohort, given in rounds:
            metrics: dict[str, Any] = {}
            self._sent = self.weights
            if len(cohort.clients) or experiment.privacy.adds_noise:  # nobody reports: the model stays as it is, but for noise
                metrics = self._next(given)
            if not metrics.get("secure/num_included", len(cohort.clients)):  # means over nobody
                metrics = {name: value for name, value in metrics.items() if not name.startswith("client_work/")}
            seconds = time.perf_counter() - started
            self.seconds["training"] += seconds
            record = self._record(cohort, metrics, seconds)
            if cohort.round % experiment.eval_every == 0 or cohort.round == self.num_rounds:
                record.update(self._timed(self._measured, cohort.round))
            yield record
            self._check(record)
            started = time.perf_counter()

    def _next(self, round_input: RoundInput) -> dict[str, Any]:
        """Computes a round; returns the process's metrics by their path."""
        self._state, metrics = self._engine.next(self._state, round_input)
        return metrics

    def _timed(self, measure: Any, *args: Any) -> Any:
        """What `measure` returns; its time goes into the phase of evaluation."""
        started = time.perf_counter()
        found = measure(*args)
        self.seconds["evaluation"] += time.perf_counter() - started
        return found

    def _record(self, cohort: Cohort, metrics: dict[str, Any], seconds: float) -> Record:
        """One line of metrics.jsonl. Dropped clients were sent the model and returned nothing."""
        sent, returned = len(cohort.clients) + len(cohort.dropped), len(cohort.clients)
        secure = {k.partition("/")[2]: v for k, v in metrics.items() if k.startswith("secure/")}
        bytes_up, bytes_down = secure.pop("bytes_up", returned * self._engine.bytes_up), secure.pop("bytes_down", 0)
        returned = secure.pop("num_included", returned)
        record = {
            "round": cohort.round,
            "seconds": round(seconds, 6),
            "num_clients": returned,
            "num_dropped": sent - returned,
            "bytes_down": sent * self._engine.bytes_down + bytes_down,
            "bytes_up": bytes_up,
            "weights_hash": weights_hash(self.weights),
            **{f"secure_{name}": value for name, value in secure.items()},
            **self.privacy.figures(cohort.round),
        }
        names = {"client_work/train/": "train_", "client_work/": "", "finalizer/": "server_"}
        for path, value in metrics.items():
            if path.startswith("secure/"):
                continue
            prefix = next((p for p in names if path.startswith(p)), "")
            record[names.get(prefix, "") + path[len(prefix) :]] = value.item() if np.ndim(value) == 0 else value.tolist()
        return record

    def keep(self, folder: RunFolder, round_num: int) -> None:
        """The server's view of a round that is observed, with the weights that it had sent out."""
        if self._engine.observed:
            view = dataclasses.replace(self._engine.observed, model=tuple(np.asarray(w) for w in self._sent))
            make_folder(folder.observed)
            with replacing(folder.observed / f"round_{round_num:06d}.npz") as partial:
                view.save(partial)

    def finish(self, folder: RunFolder) -> dict[str, Any]:
        """The final ε; writes privacy.csv where examples are protected. Subclasses add to it."""
        ledger, figures = self.privacy.per_client(self.num_rounds), self.privacy.figures(self.num_rounds)
        if ledger:
            write_ledger(folder.ledger, ledger, figures["delta"])
        return figures

    def lines(self) -> list[str]:
        return [*super().lines(), *self.privacy.lines(), *self.experiment.secure.lines()]

    def claim(self) -> Claim:
        return self.privacy.claim()

    def described(self) -> dict[str, Any]:
        warnings = self.experiment.secure.lines()
        return {"privacy": self.privacy.described(), **({"secure": {"lines": warnings}} if warnings else {})}

    def close(self) -> None:
        self._engine.close()
