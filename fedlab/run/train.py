"""The life of a run: data, partition, process, rounds, evaluation, and what is left in the folder."""

from __future__ import annotations

import time
from typing import Any, Callable, Sequence

import numpy as np
import tensorflow as tf

from fedlab import randomness
from fedlab.engine import Engine
from fedlab.errors import FedlabError
from fedlab.evaluation.classifier import ClassifierEvaluator, client_accuracies, client_summary
from fedlab.models import functional
from fedlab.partition import label_counts
from fedlab.process import Ingredients
from fedlab.process.client_work import ExampleSpec
from fedlab.report.curves import plot_curves
from fedlab.report.partition_plot import plot_partition
from fedlab.run.experiment import Experiment
from fedlab.run.folder import RunFolder, replacing
from fedlab.run.interrupt import Interruption
from fedlab.run.loggers import JsonLines, Logger, Record, TensorBoard
from fedlab.run.rounds import prepared_rounds
from fedlab.types import Cohort, Dataset, Partition


def train(
    experiment: Experiment,
    dataset: Dataset,
    partition: Partition,
    folder: RunFolder,
    loggers: Sequence[Logger],
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Runs `experiment` to its end and returns its summary, which is also in the folder. `say` takes lines for the user."""
    started = time.perf_counter()
    with replacing(folder.partition) as partial:
        counts = label_counts(dataset.train.y, partition, dataset.train.num_classes)
        plot_partition(counts, partial, f"{dataset.name}: {len(partition):,} clients", partition.client_ids)

    with Interruption() as interruption:
        learner = _Learner(experiment, dataset, partition)
        try:
            say(f"{learner.num_weights:,} weights; one round is compiled with the first")
            all_loggers: list[Logger] = [JsonLines(folder.metrics), TensorBoard(folder.tensorboard), *loggers]
            records = learner.run(all_loggers, interruption.check)
            final = learner.final_figures()
            learner.save(folder)
        finally:
            learner.engine.close()
    with replacing(folder.curves) as partial:
        plot_curves(records, partial)
    summary = {
        "num_rounds": experiment.num_rounds,
        "num_clients": len(partition),
        "num_weights": learner.num_weights,
        "seconds_total": round(time.perf_counter() - started, 3),
        "seconds_per_round": float(np.median([r["seconds"] for r in records])),
        "bytes_down_total": sum(r["bytes_down"] for r in records),
        "bytes_up_total": sum(r["bytes_up"] for r in records),
        "non_finite_clients_total": int(sum(r.get("non_finite_clients", 0) for r in records)),
        **final,
    }
    folder.write_summary(summary)
    return summary


class _Learner:
    """The model, its process and its state."""

    def __init__(self, experiment: Experiment, dataset: Dataset, partition: Partition):
        self._experiment, self._dataset, self._partition = experiment, dataset, partition
        examples = dataset.train
        shape, seed = examples.x.shape[1:], experiment.seed

        def build() -> tf.keras.Model:
            return experiment.model(shape, examples.num_classes)

        self._keras = functional.initial_keras_model(build, int(randomness.key(seed, "initial weights")[0] % 2**32))
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
            aggregator=experiment.aggregator.build(),
            aggregator_takes_weights=experiment.aggregator.takes_weights,
        )
        self.engine: Engine = experiment.engine.build(experiment.process.build(parts), examples)
        self._state = self.engine.initialize(randomness.key(seed, "initial state"))
        self._evaluator = ClassifierEvaluator(model, examples.x.dtype, experiment.evaluation.batch_size)

    @property
    def weights(self) -> list:
        """The global model's tensors, trainable first."""
        names = self.engine.state_names
        return [tensor for name, tensor in zip(names, self._state) if name[0] == "global_model_weights"]

    def run(self, loggers: Sequence[Logger], check: Callable[[], None]) -> list[Record]:
        """All rounds; returns their records. `check` is called where it is safe to stop, and raises to stop."""
        experiment, records = self._experiment, []
        rounds = prepared_rounds(
            self._partition, experiment.cohort, experiment.client.local_epochs, experiment.seed, 1, experiment.num_rounds
        )
        try:
            started = time.perf_counter()
            for cohort, round_input in rounds:
                check()
                metrics: dict[str, Any] = {}
                if len(cohort.clients):  # nobody reports: the model stays as it is
                    self._state, metrics = self.engine.next(self._state, round_input)
                seconds = time.perf_counter() - started
                record = self._record(cohort, metrics, seconds)
                if cohort.round % experiment.eval_every == 0 or cohort.round == experiment.num_rounds:
                    scores = self._evaluator.scores(self.weights, self._dataset.test).summary()
                    record.update({f"test_{name}": value for name, value in scores.items()})
                records.append(record)
                for logger in loggers:
                    logger.log(record)
                if not np.isfinite(record.get("test_loss", 0.0)):
                    raise FedlabError(
                        f"round {cohort.round}: the test loss is {record['test_loss']}, the model has diverged: "
                        "lower client_optimizer.learning_rate or server_optimizer.learning_rate."
                    )
                started = time.perf_counter()
        finally:
            for logger in loggers:
                logger.close()
        return records

    def _record(self, cohort: Cohort, metrics: dict[str, Any], seconds: float) -> Record:
        """One line of metrics.jsonl. Dropped clients were sent the model and returned nothing."""
        sent, returned = len(cohort.clients) + len(cohort.dropped), len(cohort.clients)
        record = {
            "round": cohort.round,
            "seconds": round(seconds, 6),
            "num_clients": returned,
            "num_dropped": len(cohort.dropped),
            "bytes_down": sent * self.engine.bytes_down,
            "bytes_up": returned * self.engine.bytes_up,
        }
        names = {"client_work/train/": "train_", "client_work/": "", "finalizer/": "server_"}
        for path, value in metrics.items():
            prefix = next((p for p in names if path.startswith(p)), "")
            record[names.get(prefix, "") + path[len(prefix) :]] = value.item() if np.ndim(value) == 0 else value.tolist()
        return record

    def final_figures(self) -> dict[str, float]:
        """Test loss and accuracy of the final model, and the spread of its accuracy over clients."""
        figures = {f"test_{k}": v for k, v in self._evaluator.scores(self.weights, self._dataset.test).summary().items()}
        if self._experiment.evaluation.per_client:
            scores = self._evaluator.scores(self.weights, self._dataset.train)
            figures.update(client_summary(client_accuracies(scores, self._partition)))
        return figures

    def save(self, folder: RunFolder) -> None:
        """The final model as a Keras file: inputs are floats, [0, 1] for images; outputs are logits."""
        count = len(self._keras.trainable_variables)
        weights = [np.asarray(w) for w in self.weights]
        functional.set_keras_weights(self._keras, (tuple(weights[:count]), tuple(weights[count:])))
        with replacing(folder.model) as partial:
            self._keras.save(partial)
