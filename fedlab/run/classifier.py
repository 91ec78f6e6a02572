"""The ordinary learner: a classifier, trained by a federated process and judged by its loss and accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fedlab import randomness
from fedlab.archive import RunFolder, replacing
from fedlab.archive.clients import ClientScore, write_scores
from fedlab.archive.metrics import Record
from fedlab.errors import ConfigError, FedlabError, one_line, own_frames
from fedlab.evaluation.classifier import ClassifierEvaluator, ExampleScores, client_accuracies, client_losses, client_summary
from fedlab.models import functional
from fedlab.process import Ingredients
from fedlab.process.client_work import ExampleSpec
from fedlab.run.federated import FederatedLearner
from fedlab.types import Dataset, Partition

LOSSES = ("train_loss", "test_loss")


class Classifier(FederatedLearner):
    """One global model, tested on the test set and on each client's own examples."""

    def _process(self) -> tff.templates.IterativeProcess:
        experiment, examples = self.experiment, self.dataset.train
        shape = examples.x.shape[1:]

        def build() -> tf.keras.Model:
            return experiment.model(shape, examples.num_classes)

        self._keras = build_model(build, int(randomness.key(experiment.seed, "initial weights")[0] % 2**32))
        weights = functional.keras_weights(self._keras)
        self.num_weights = sum(w.size for ws in weights for w in ws)
        model = functional.functional_classifier(build, weights, shape, examples.num_classes)
        self._evaluator = ClassifierEvaluator(model, examples.x.dtype, experiment.evaluation.batch_size)
        parts = Ingredients(
            model=model,
            examples=ExampleSpec(shape, examples.x.dtype),
            client=experiment.client,
            client_optimizer=experiment.client_optimizer,
            client_schedule=experiment.client_schedule,
            server_optimizer=experiment.server_optimizer,
            aggregator=self.privacy.aggregator(experiment) or experiment.aggregator.build(),
            takes_weights=experiment.why_uniform is None,
            largest_metric=experiment.largest_metric,
        )
        return experiment.process.build(parts)

    def _measured(self, round_num: int) -> dict[str, Any]:
        scores = self._evaluator.scores(self.weights, self.dataset.test).summary()
        return {f"test_{name}": value for name, value in scores.items()}

    def _check(self, record: Record) -> None:
        # Under privacy a round goes on whatever its clients send, their training loss included
        require_finite(record, self.weights, ["test_loss"] if self.experiment.privacy.adds_noise else LOSSES)

    def client_probabilities(self) -> list[np.ndarray]:
        return client_probabilities(self._evaluator, self.weights, self.dataset, self.partition)

    def finish(self, folder: RunFolder) -> dict[str, Any]:
        """Test loss and accuracy of the final model, the spread of its accuracy over clients; model.keras and clients.csv."""
        figures = {**super().finish(folder), **self._timed(self._measured, self.num_rounds)}
        if self.experiment.evaluation.per_client:
            scores = self._timed(self._client_scores)
            write_scores(folder.clients, scores)
            figures.update(client_summary(np.array([score.accuracy for score in scores])))
        self._save(folder)
        return figures

    def _client_scores(self) -> list[ClientScore]:
        return client_scores(self._evaluator.scores(self.weights, self.dataset.train), self.partition)

    def _save(self, folder: RunFolder) -> None:
        save_model(self._keras, self.weights, folder)


def client_probabilities(
    evaluator: ClassifierEvaluator, weights: list, dataset: Dataset, partition: Partition
) -> list[np.ndarray]:
    """What a model with these `weights` thinks of each client's own examples, see `Learner.client_probabilities`."""
    own = partition.evaluated
    found = evaluator.probabilities(weights, dataset.train, np.concatenate(own.indices))
    return np.split(found, np.cumsum(own.sizes)[:-1])


def client_scores(scores: ExampleScores, partition: Partition) -> list[ClientScore]:
    """From `scores` on the training set, how a model does on each client's own examples: those held out, where there are any."""
    own = partition.evaluated
    columns = (own.client_ids, own.sizes.tolist(), client_accuracies(scores, own), client_losses(scores, own))
    return [ClientScore(name, size, float(accuracy), float(loss)) for name, size, accuracy, loss in zip(*columns) if size]


def save_model(keras: tf.keras.Model, weights: Sequence[Any], folder: RunFolder) -> None:
    """model.keras with `weights`, trainable first: inputs are floats, [0, 1] for images; outputs are logits."""
    count, arrays = len(keras.trainable_variables), [np.asarray(w) for w in weights]
    functional.set_keras_weights(keras, (tuple(arrays[:count]), tuple(arrays[count:])))
    with replacing(folder.model) as partial:
        keras.save(partial)


def require_finite(record: Record, weights: Sequence[Any], losses: Sequence[str] = LOSSES) -> None:
    """Raises `FedlabError` where one of these losses in the round's record, or a weight after it, is no number any more."""
    found = [f"{name} is {record[name]}" for name in losses if not np.isfinite(record.get(name, 0.0))]
    if not all(np.isfinite(w).all() for w in weights):
        found.append("the weights hold values that are not finite")
    if found:
        raise FedlabError(
            f"round {record['round']}: {' and '.join(found)}, the model has diverged: "
            "lower client_optimizer.learning_rate or server_optimizer.learning_rate."
        )


def build_model(build: functional.KerasBuilder, seed: int) -> tf.keras.Model:
    """The model, with whatever a user's own function raises worded as a mistake in the configuration."""
    try:
        return functional.initial_keras_model(build, seed)
    except FedlabError:
        raise
    except Exception as error:
        where = own_frames(error) or "HYDRA_FULL_ERROR=1 shows where"
        raise ConfigError(f"model: {type(error).__name__}: {one_line(error)} ({where}).") from error
