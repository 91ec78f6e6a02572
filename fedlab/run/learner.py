"""The model, the process and the state of one run."""

from __future__ import annotations

import hashlib
import time
from typing import Any, Iterator, Optional, Sequence

import numpy as np
import tensorflow as tf

from fedlab import randomness
from fedlab.archive import RunFolder, replacing
from fedlab.archive.clients import ClientScore
from fedlab.archive.metrics import Record
from fedlab.engine import Engine
from fedlab.errors import ConfigError, FedlabError, one_line
from fedlab.evaluation.classifier import ClassifierEvaluator, client_accuracies, client_losses, client_summary
from fedlab.models import functional
from fedlab.process import Ingredients
from fedlab.process.client_work import ExampleSpec
from fedlab.run.experiment import Experiment
from fedlab.run.privacy import PrivacyAccount
from fedlab.run.rounds import prepared_rounds
from fedlab.secure import ServerView
from fedlab.types import Cohort, Dataset, Partition


class Learner:
    """Built from an experiment and its data; raises `FedlabError` for what cannot be built. `close` ends its engine."""

    def __init__(self, experiment: Experiment, dataset: Dataset, partition: Partition):
        self.experiment, self._dataset, self.partition = experiment, dataset, partition
        self.privacy = PrivacyAccount(experiment, partition)
        examples = dataset.train
        shape, seed = examples.x.shape[1:], experiment.seed

        def build() -> tf.keras.Model:
            return experiment.model(shape, examples.num_classes)

        self._keras = _build_model(build, int(randomness.key(seed, "initial weights")[0] % 2**32))
        weights = functional.keras_weights(self._keras)
        self.num_weights = sum(w.size for ws in weights for w in ws)
        model = functional.functional_classifier(build, weights, shape, examples.num_classes)
        parts = Ingredients(
            model=model,
            examples=ExampleSpec(shape, examples.x.dtype),
            client=experiment.client,
            client_optimizer=experiment.client_optimizer,
            client_schedule=experiment.client_schedule,
            server_optimizer=experiment.server_optimizer,
            aggregator=self.privacy.aggregator(experiment) or experiment.aggregator.build(),
            takes_weights=experiment.why_uniform is None,
        )
        process = experiment.process.build(parts)
        self._engine: Engine = experiment.engine.build(process, examples, experiment.summing(len(partition)))
        self._state = self._engine.initialize(randomness.key(seed, "initial state"))
        self.seconds = self._engine.seconds  # per phase; the engine may add to some of them
        self.seconds.update(training=0.0, evaluation=0.0)
        self._evaluator = ClassifierEvaluator(model, examples.x.dtype, experiment.evaluation.batch_size)

    @property
    def weights(self) -> list:
        """The global model's tensors, trainable first."""
        names = self._engine.state_names
        return [tensor for name, tensor in zip(names, self._state) if name[0] == "global_model_weights"]

    @property
    def num_rounds(self) -> int:
        """How many rounds there are to be, in all: as many as asked for, or as the privacy budget allows."""
        return self.privacy.num_rounds

    @property
    def observed(self) -> Optional[ServerView]:
        """What the server received in the last round, where that is recorded."""
        return self._engine.observed

    @property
    def state(self) -> list:
        """The whole state of the process: immutable tensors, in the engine's order."""
        return self._state

    def restore(self, state: Sequence[np.ndarray]) -> None:
        """Goes on from a saved `state`. Raises `FedlabError` where it belongs to another process."""
        saved, needed = ([(str(np.asarray(t).dtype), tuple(t.shape)) for t in tensors] for tensors in (state, self._state))
        if saved != needed:
            raise FedlabError("the checkpoint belongs to another model or process than this run's.")
        self._state = [tf.constant(tensor) for tensor in state]

    def rounds(self, first: int) -> Iterator[Record]:
        """Computes rounds `first` to the last and yields the record of each. Between two of them it is safe to stop."""
        experiment = self.experiment
        rounds = prepared_rounds(
            self.partition, experiment.cohort, experiment.client.local_epochs, experiment.seed, first, self.num_rounds
        )
        started = time.perf_counter()
        for cohort, round_input in rounds:
            metrics: dict[str, Any] = {}
            round_input = self.privacy.with_its_own_noise(round_input)
            if len(cohort.clients) or experiment.privacy.adds_noise:  # nobody reports: the model stays as it is, but for noise
                self._state, metrics = self._engine.next(self._state, round_input)
            seconds = time.perf_counter() - started
            self.seconds["training"] += seconds
            record = self._record(cohort, metrics, seconds)
            if cohort.round % experiment.eval_every == 0 or cohort.round == self.num_rounds:
                record.update(self._test_scores())
            yield record
            if not np.isfinite(record.get("test_loss", 0.0)):
                raise FedlabError(
                    f"round {cohort.round}: the test loss is {record['test_loss']}, the model has diverged: "
                    "lower client_optimizer.learning_rate or server_optimizer.learning_rate."
                )
            started = time.perf_counter()

    def _test_scores(self) -> dict[str, float]:
        started = time.perf_counter()
        scores = self._evaluator.scores(self.weights, self._dataset.test).summary()
        self.seconds["evaluation"] += time.perf_counter() - started
        return {f"test_{name}": value for name, value in scores.items()}

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

    def final_figures(self) -> tuple[dict[str, float], list[ClientScore]]:
        """Test loss and accuracy of the final model, the spread of its accuracy over clients, and the score of each client."""
        figures = self._test_scores()
        if not self.experiment.evaluation.per_client:
            return figures, []
        scores = self._evaluator.scores(self.weights, self._dataset.train)
        accuracies, losses = client_accuracies(scores, self.partition), client_losses(scores, self.partition)
        columns = (self.partition.client_ids, self.partition.sizes.tolist(), accuracies.tolist(), losses.tolist())
        return {**figures, **client_summary(accuracies)}, [ClientScore(*row) for row in zip(*columns)]

    def save(self, folder: RunFolder) -> None:
        """The final model as a Keras file: inputs are floats, [0, 1] for images; outputs are logits."""
        count = len(self._keras.trainable_variables)
        weights = [np.asarray(w) for w in self.weights]
        functional.set_keras_weights(self._keras, (tuple(weights[:count]), tuple(weights[count:])))
        with replacing(folder.model) as partial:
            self._keras.save(partial)

    def close(self) -> None:
        """Ends what the engine has started."""
        self._engine.close()


def weights_hash(weights: Sequence[Any]) -> str:
    """16 hexadecimal digits of the SHA-256 over all tensors' bytes: equal for equal bits, in practice only for them."""
    digest = hashlib.sha256()
    for tensor in weights:
        digest.update(np.ascontiguousarray(tensor).data)
    return digest.hexdigest()[:16]


def _build_model(build: functional.KerasBuilder, seed: int) -> tf.keras.Model:
    """The model, with whatever a user's own function raises worded as a mistake in the configuration."""
    try:
        return functional.initial_keras_model(build, seed)
    except FedlabError:
        raise
    except Exception as error:
        raise ConfigError(f"model: {type(error).__name__}: {one_line(error)} (HYDRA_FULL_ERROR=1 shows where).") from error
