"""A learner without federation: a model per client, each trained on its client's examples alone."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from fedlab import cores
from fedlab.archive import RunFolder
from fedlab.archive.clients import ClientScore, write_scores
from fedlab.archive.metrics import Record
from fedlab.engine import RoundInput, State
from fedlab.evaluation.classifier import ExampleScores
from fedlab.run.classifier import Classifier
from fedlab.run.learner import require_same_shapes
from fedlab.run.rounds import of_one_client
from fedlab.types import Cohort, ExampleSet

_EXAMPLES = "client_work/train/num_examples"


class LocalOnlyLearner(Classifier):
    """FedAvg with one client, as often as there are clients: an engine's `next` is a function of the state it is given.

    State: that of the process, once per client. Clients that are in no cohort keep the model they begin with: use cohort=all.
    """

    def __init__(self, *args: Any):
        super().__init__(*args)
        self._states: list[State] = [self._state] * len(self.partition)

    @property
    def weights(self) -> list:
        """The tensors of every client's model, one client after the other."""
        return [tensor for c in range(len(self._states)) for tensor in self._weights_of(c)]

    def _weights_of(self, c: int) -> list:
        names = self._engine.state_names
        return [tensor for name, tensor in zip(names, self._states[c]) if name[0] == "global_model_weights"]

    @property
    def state(self) -> list:
        return [tensor for state in self._states for tensor in state]

    def restore(self, state: Sequence[np.ndarray]) -> None:
        require_same_shapes(state, self.state)
        size = len(self._state)
        self._states = [[tf.constant(t) for t in state[i : i + size]] for i in range(0, len(state), size)]

    def _next(self, round_input: RoundInput) -> dict[str, Any]:
        def train(k: int) -> dict[str, Any]:
            c = int(round_input.clients[k])
            self._states[c], metrics = self._engine.next(self._states[c], of_one_client(round_input, k))
            return metrics

        # A client is one thread of the engine's; TFF's own runtime takes one call at a time
        with concurrent.futures.ThreadPoolExecutor(cores.available() if self.experiment.engine.reproducible else 1) as pool:
            return _together(list(pool.map(train, range(len(round_input.clients)))))

    def _record(self, cohort: Cohort, metrics: dict[str, Any], seconds: float) -> Record:
        return {**super()._record(cohort, metrics, seconds), "bytes_down": 0, "bytes_up": 0}

    def _measured(self, round_num: int) -> dict[str, Any]:
        """Mean over clients of what their models do on the test set; the 10th percentile, worst and best accuracy."""
        self._summaries = [self._scores(c, self.dataset.test).summary() for c in range(len(self._states))]
        accuracies = np.array([summary["accuracy"] for summary in self._summaries])
        return {
            "test_loss": float(np.mean([summary["loss"] for summary in self._summaries])),
            "test_accuracy": float(accuracies.mean()),
            "test_accuracy_p10": float(np.percentile(accuracies, 10)),
            "test_accuracy_worst": float(accuracies.min()),
            "test_accuracy_best": float(accuracies.max()),
        }

    def _scores(self, c: int, examples: ExampleSet) -> ExampleScores:
        return self._evaluator.scores(self._weights_of(c), examples)

    def client_probabilities(self) -> list[np.ndarray]:
        own, train = self.partition.evaluated, self.dataset.train
        none = np.zeros((0, train.num_classes), np.float32)
        each = enumerate(own.indices)
        return [self._evaluator.probabilities(self._weights_of(c), train, i) if len(i) else none for c, i in each]

    def finish(self, folder: RunFolder) -> dict[str, Any]:
        """Adds local_models.csv. There is a model.keras where there is one client."""
        figures = super().finish(folder)
        rows = zip(self.partition.client_ids, self.partition.sizes.tolist(), self._summaries)
        write_scores(folder.local_models, [ClientScore(name, n, s["accuracy"], s["loss"]) for name, n, s in rows])
        return figures

    def _client_scores(self) -> list[ClientScore]:
        """How each client's own model does on its own examples: those held out, where there are any."""
        own = self.partition.evaluated
        found = []
        for c, (name, indices) in enumerate(zip(own.client_ids, own.indices)):
            if len(indices):
                summary = self._scores(c, self.dataset.train.select(indices)).summary()
                found.append(ClientScore(name, len(indices), summary["accuracy"], summary["loss"]))
        return found

    def _save(self, folder: RunFolder) -> None:
        if len(self._states) == 1:
            super()._save(folder)


def _together(each: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The metrics of several clients as one round's: means over their examples, counts added up."""
    if len(each) == 1:
        return each[0]
    examples = np.array([metrics[_EXAMPLES] for metrics in each])

    def total(path: str) -> Any:
        values = np.array([metrics[path] for metrics in each])
        if path.startswith("client_work/train/") and path != _EXAMPLES:
            counted = examples > 0  # an update that was left out has no loss
            return np.sum(values[counted] * examples[counted]) / np.sum(examples[counted])
        return values.sum(0)

    return {path: total(path) for path in each[0]}
