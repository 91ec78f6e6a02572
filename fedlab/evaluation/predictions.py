"""One model that predicts a target for each example, for all clients."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from fedlab import randomness
from fedlab.archive import RunFolder, replacing
from fedlab.archive.clients import ClientScore, ModelScore, Scores, write_model_scores, write_scores
from fedlab.errors import ConfigError, DataError, FedlabError, one_line, own_frames
from fedlab.evaluation.evaluator import Evaluator, Trained, Weights
from fedlab.evaluation.scores import ExampleScorer, over_clients
from fedlab.models import functional, lifting
from fedlab.ragged import Ragged
from fedlab.tasks import Prediction
from fedlab.tasks.encoding import input_dtype
from fedlab.types import Partition


class OneModel(Evaluator):
    """Evaluates one global model on the test set and on each client's own examples."""

    @property
    def prediction(self) -> Prediction:
        """The task."""
        assert isinstance(self.task, Prediction)
        return self.task

    @property
    def headline(self) -> str:
        """The metric by which clients are ranked."""
        return self.task.headline or "loss"

    @property
    def more_is_better(self) -> bool:
        """True if a larger headline metric is better."""
        shown = self.task.measured.get(self.headline)
        return shown is not None and shown.more_is_better

    measures_clients: ClassVar[bool] = True
    _unseen: Scores = Scores.of(())  # of the newest evaluation

    def _build(self, model: Any) -> None:
        examples, task = self.dataset.train, self.prediction
        task.check_examples(examples, self.dataset.name)
        try:
            task.check_further(self.dataset.test)
        except DataError as error:
            raise ConfigError(f"evaluation.metrics: {error}.") from None
        shape = examples.x.shape[1:]

        def build() -> tf.keras.Model:
            tf.keras.backend.reset_uids()  # so that layers are called dense, dense_1, … in every process
            return model(shape, task.num_outputs)

        self.keras = build_model(build, int(randomness.key(self.seed, "initial weights")[0] % 2**32))
        weights = functional.keras_weights(self.keras)
        self.num_weights = sum(w.size for ws in weights for w in ws)
        self.model = functional.functional_model(build, weights, shape, task, input_dtype(examples.x.dtype))
        self._scorer = ExampleScorer(self.model, examples.x.dtype, self.evaluation.batch_size)

    def measured(self, trained: Trained, round_num: int) -> dict[str, Any]:
        """Returns the task's metrics on the test set."""
        return {f"test_{name}": value for name, value in self._on_test(trained.weights).items()}

    def _on_test(self, weights: Weights) -> dict[str, float]:
        """Returns the metrics of a model on the test set."""
        test, task = self.dataset.test, self.prediction
        found = self._scorer.scores(list(weights), test).summary()
        if not task.also:
            return found
        predictions = self._scorer.predictions(list(weights), test, np.arange(len(test)))
        return {**found, **task.test_metrics(predictions, test.y)}

    def is_measured(self, metric: str) -> bool:
        return metric.startswith(("test_", "global_test_", "unseen_client_"))

    def measured_unseen(self, trained: Trained, unseen: Partition) -> dict[str, Any]:
        """Returns the headline metric over unseen clients, on their held-out examples if there are any, else on all of them."""
        self._unseen = self._unseen_scores(trained, unseen)
        return self._over_clients("unseen_client", self._unseen) if len(self._unseen) else {}

    def _unseen_scores(self, trained: Trained, unseen: Partition) -> Scores:
        """Returns the scores of the unseen clients; of none if they have no model."""
        train, found = self.dataset.train, []
        each = zip(unseen.client_ids, unseen.indices, unseen.evaluated.indices)
        for client, (name, mine, own) in enumerate(each):
            models = trained.models_for_unseen(client) if len(own) else ()
            losses = [self._loss(weights, mine) for weights in models] if len(models) > 1 else [0.0] * len(models)
            if models:
                chosen = models[int(np.nanargmin(losses)) if np.isfinite(losses).any() else 0]
                summary = self._scorer.scores(list(chosen), train.select(own)).summary()
                found.append(self._score(name, len(own), summary))
        return Scores.of(found)

    def _loss(self, weights: Weights, indices: np.ndarray) -> float:
        """Returns the mean loss of a model over the training examples at `indices` [n]."""
        return self._scorer.scores(list(weights), self.dataset.train.select(indices)).summary()["loss"]

    def client_predictions(self, trained: Trained, partition: Partition) -> list[np.ndarray]:
        own = partition.evaluated
        found = self._scorer.predictions(trained.weights, self.dataset.train, own.owned)
        return np.split(found, np.cumsum(own.sizes)[:-1])

    def test_predictions(self, trained: Trained) -> np.ndarray:
        test = self.dataset.test
        return self._scorer.predictions(trained.weights, test, np.arange(len(test)))

    def keep_models(self, models: Mapping[int, Weights], partition: Partition, folder: RunFolder, round_num: int) -> None:
        """Writes a table to client_models/: each client's model on its training examples and on the test set."""
        found = []
        for client, weights in models.items():
            indices = partition.indices[client]
            own = self._scorer.scores(list(weights), self.dataset.train.select(indices)).summary()
            test = self._scorer.scores(list(weights), self.dataset.test).summary()
            four = (own["loss"], own[self.headline], test["loss"], test[self.headline])
            found.append(ModelScore(partition.client_ids[client], len(indices), *four))
        write_model_scores(folder.client_models, round_num, found, self.headline)

    def finish(self, trained: Trained, partition: Partition, folder: RunFolder) -> dict[str, Any]:
        """Writes model.keras, clients.csv and unseen_clients.csv; returns the spread of the headline metric over clients."""
        figures: dict[str, Any] = {}
        if self.evaluation.per_client:
            also = [metric.name for metric in self.prediction.also]
            places = self._evaluated(partition)
            scores = self._client_scores(trained, partition, places)
            if also:
                scores = self._with_metrics(scores, trained, partition, places)
            write_scores(folder.clients, scores, self.headline, also)
            if self._is_sample(partition):
                figures["clients_sampled"] = len(places)
            figures.update(self._over_clients("client", scores))
            for name, values in zip(also, scores.also.T):
                defined = values[~np.isnan(values)]
                figures[f"client_{name}_mean"] = float(np.mean(defined)) if len(defined) else None
                if len(defined) < len(values):
                    figures[f"client_{name}_undefined"] = len(values) - len(defined)
        if len(self._unseen):
            write_scores(folder.unseen_clients, self._unseen, self.headline)
        model = self._only_model(trained)
        if model is not None:
            self.save(model, folder.model)
        return figures

    def _over_clients(self, prefix: str, scores: Scores) -> dict[str, float]:
        """Returns the headline metric over the clients that have it, under names that begin with `prefix`.

        If some do not have it, their number is there too; if none has it, nothing else.
        """
        defined = ~np.isnan(scores.score)
        name, count = f"{prefix}_{self.headline}", int(defined.sum())
        counted: dict[str, float] = {f"{name}_undefined": len(scores) - count} if count < len(scores) else {}
        if not count:
            return counted
        found = over_clients(scores.score[defined], scores.examples[defined], self.more_is_better)
        return {**{f"{name}_{which}": value for which, value in found.items()}, **counted}

    def _evaluated(self, partition: Partition) -> np.ndarray:
        """Returns the positions of the clients that are evaluated at the end, ascending: all that have examples, or a sample of
        them that depends only on the seed (`evaluation.per_client=sample:N`).
        """
        places, size = np.flatnonzero(partition.evaluated.sizes), self.evaluation.clients_sampled
        if not self._is_sample(partition):
            return places
        return np.sort(randomness.generator(self.seed, "evaluated clients").choice(places, size, replace=False))

    def _is_sample(self, partition: Partition) -> bool:
        """Returns True if fewer clients are evaluated at the end than have examples."""
        size = self.evaluation.clients_sampled
        return size is not None and size < np.count_nonzero(partition.evaluated.sizes)

    def _client_scores(self, trained: Trained, partition: Partition, places: np.ndarray) -> Scores:
        """Returns the model's scores on the own examples of the clients at `places`: the held-out ones, if there are any."""
        return self._scores_of(trained.weights, partition, places)

    def _scores_of(self, weights: Weights, partition: Partition, places: np.ndarray) -> Scores:
        """Returns the scores of one model for the clients at `places` on each client's own examples, as `_client_scores`."""
        own, train = partition.evaluated.select(places), self.dataset.train
        if self._is_sample(partition):
            scores = self._scorer.scores(list(weights), train.select(own.owned))
            summaries = scores.of_each(Ragged.of_sizes(np.arange(len(own.owned)), own.sizes))
        else:
            summaries = self._scorer.scores(list(weights), train).of_each(own.indices)
        return Scores(own.client_ids, own.sizes, summaries[self.headline], summaries["loss"], np.zeros((len(own), 0)))

    def _score(self, client: str, examples: int, summary: Mapping[str, float]) -> ClientScore:
        """Returns a client's row of a table, given its metrics."""
        score = summary[self.headline]
        return ClientScore(client, examples, None if np.isnan(score) else score, summary["loss"])

    def _with_metrics(self, scores: Scores, trained: Trained, partition: Partition, places: np.ndarray) -> Scores:
        """Returns `scores` with `evaluation.metrics` of each client's own examples; NaN where one is undefined."""
        own, y = partition.evaluated.indices, self.dataset.train.y
        predicted = self._own_predictions(trained, partition, places)
        found = [list(self.prediction.test_metrics(p, y[own[c]]).values()) for p, c in zip(predicted, places.tolist())]
        also = np.array(found, np.float64)
        return dataclasses.replace(scores, also=np.where(np.isfinite(also), also, np.nan))

    def _own_predictions(self, trained: Trained, partition: Partition, places: np.ndarray) -> list[np.ndarray]:
        """Returns `client_predictions` of the clients at `places`, all of which have examples."""
        own = partition.evaluated.select(places)
        found = self._scorer.predictions(trained.weights, self.dataset.train, own.owned)
        return np.split(found, np.cumsum(own.sizes)[:-1])

    def _only_model(self, trained: Trained) -> Weights | None:
        """Returns the weights of the single final model; None if there are several models."""
        return trained.weights

    def save(self, weights: Weights, path: pathlib.Path) -> None:
        """Writes a Keras file: inputs are floats, [0, 1] for images; outputs are logits."""
        count, arrays = len(self.keras.trainable_variables), [np.asarray(w) for w in weights]
        functional.set_keras_weights(self.keras, (tuple(arrays[:count]), tuple(arrays[count:])))
        with replacing(path) as partial:
            self.prediction.exported(self.keras).save(partial)


def build_model(build: functional.KerasBuilder, seed: int) -> tf.keras.Model:
    """Builds the model, and rewords an exception of a user's own function as a mistake in the configuration."""
    try:
        model = functional.initial_keras_model(build, seed)
        lifting.check_initial_weights(lifting.seeded(build, seed), model)
        return model
    except FedlabError:
        raise
    except Exception as error:
        where = own_frames(error) or "HYDRA_FULL_ERROR=1 shows where"
        raise ConfigError(f"model: {type(error).__name__}: {one_line(error)} ({where}).") from error
