"""`Training`: computes an experiment without arms, round by round: cohorts, an algorithm's training, evaluation, privacy."""

from __future__ import annotations

import dataclasses
import math
import pathlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fedlab.algorithms import LARGEST_METRIC, Parts, Setting
from fedlab.algorithms.base import needs_protocol, why_uniform
from fedlab.algorithms.client_work import ExampleSpec
from fedlab.archive import RunFolder, make_folder, replacing
from fedlab.archive.clients import write_ledger
from fedlab.archive.metrics import Record
from fedlab.archive.task import described as learned_from
from fedlab.cohort import Buffered
from fedlab.composition import Claim
from fedlab.engine import SecureSumming
from fedlab.errors import FedlabError
from fedlab.evaluation import build_evaluator
from fedlab.evaluation.evaluator import Evaluator
from fedlab.models.transfer import shown
from fedlab.randomness import Secret
from fedlab.run.best_round import BestRound
from fedlab.run.cohorts import drawn, require_stated
from fedlab.run.experiment import Experiment, is_private
from fedlab.run.learner import Learner, require_finite, weights_hash
from fedlab.run.privacy import PrivacyAccount
from fedlab.run.rounds import prepared_rounds
from fedlab.secure import ServerView
from fedlab.secure.reading import models_in
from fedlab.tasks import Prediction
from fedlab.types import Dataset, Partition


class Training(Learner):
    """The loop around the algorithm, which computes the rounds, and the evaluator, which computes the metrics."""

    def __init__(
        self,
        experiment: Experiment,
        dataset: Dataset,
        partition: Partition,
        secret: Secret | None = None,
        scratch: pathlib.Path | None = None,
    ):
        """`secret`: for the draws that ε relies on; None: a new one, which is not stored. `scratch`: as in `build_learner`."""
        super().__init__(experiment, dataset, partition)
        algorithm = experiment.process
        self._started = experiment.init.started(experiment.model) if experiment.init.is_on else None
        model = self._started or experiment.model
        self.evaluator = build_evaluator(self.task(), algorithm.personal, model, dataset, experiment.evaluation, experiment.seed)
        self.num_weights = self.evaluator.num_weights
        self.privacy = PrivacyAccount(experiment, partition, secret, num_weights=self.num_weights)
        self.num_rounds = self.privacy.num_rounds
        require_stated(experiment.cohort, self.privacy.stated, len(partition), self.privacy.sources.cohorts, self.num_rounds)
        self._client_seconds = experiment.clock.seconds(partition.client_ids, experiment.seed)
        parts = assemble(experiment, self.evaluator, dataset, partition, self.privacy)
        setting = Setting(
            seed=experiment.seed,
            dataset=dataset,
            partition=partition,
            engine=experiment.engine,
            summing=summing(experiment, len(partition)),
            privacy=experiment.privacy,
            local_epochs=algorithm.epochs(experiment.client),
            scratch=scratch,
        )
        self.trainer = algorithm.start(parts, setting)
        task = learned_from(self.task().described())
        self._best = None if experiment.keep.best is None else BestRound(experiment.keep.best, task, self.weights)
        self._sent: list = []  # the weights that the server sent to clients in the newest round
        self.seconds = self.trainer.seconds
        self.seconds.update(training=0.0, evaluation=0.0)

    @property
    def weights(self) -> list:
        """Returns the trained weights, like `Trainer.weights`."""
        return self.trainer.weights

    @property
    def state(self) -> list:
        return [*self.trainer.state, *(self._best.state if self._best else ())]

    @property
    def weights_hash(self) -> str:
        return weights_hash(self.trainer.hashed)

    def restore(self, state: Sequence[np.ndarray]) -> None:
        count = len(state) - (len(self._best.state) if self._best else 0)
        self.trainer.restore(state[:count])
        if self._best:
            self._best.restore(state[count:])

    def rounds(self, first: int) -> Iterator[Record]:
        experiment = self.experiment
        epochs = experiment.process.epochs(experiment.client)
        sampler = drawn(experiment.cohort, self.privacy.stated, self._client_seconds)
        rounds = prepared_rounds(self.partition, sampler, epochs, self.privacy.sources, first, self.last_round)
        started = time.perf_counter()
        for cohort, given in rounds:
            self._sent = self.weights
            outcome = self.trainer.next(cohort, given)
            seconds = time.perf_counter() - started
            self.seconds["training"] += seconds
            record = {
                "round": cohort.round,
                "seconds": round(seconds, 6),
                "num_clients": outcome.num_clients,
                "num_dropped": outcome.num_dropped,
                "bytes_down": outcome.bytes_down,
                "bytes_up": outcome.bytes_up,
                "weights_hash": self.weights_hash,
                **({} if cohort.seconds is None else {"simulated_seconds": cohort.seconds}),
                **self.privacy.figures(cohort.round),
                **outcome.metrics,
            }
            if self._is_evaluated(cohort.round):
                record.update(self._timed(self._measured, cohort.round))
                if self._best and cohort.round % experiment.eval_every == 0:  # a later last round may replace this one
                    self._best.note(cohort.round, record, self.weights)
            yield record
            self._check(record)
            if cohort.round >= self.last_round:  # `end_after` was called in the meantime
                break
            started = time.perf_counter()

    def _check(self, record: Record) -> None:
        """Raises `FedlabError` if training has diverged in the round of `record`, which has been stored.

        A private training (server noise, DP-SGD) may end only because of values that ε covers: shared weights and their
        consequences. Neither a training metric, nor a count of clients, nor client state may end it.
        """
        private, weights = is_private(self.experiment), self.weights
        left_out, reported = record.get("non_finite_clients", 0), record["num_clients"]
        possible = {**self.evaluator.signs, **(self.experiment.process.signs if reported else {})}
        signs = [sign for name, sign in possible.items() if record.get(name)]
        # A secure sum leaves out metrics that are finite but too large for it; in that case the model changes
        certain = not private and largest_metric(self.experiment) == LARGEST_METRIC
        if 0 < reported <= left_out and (certain or all(map(np.array_equal, weights, self._sent))):
            signs.append("no client's update was finite")
        losses = self.evaluator.losses if private else ("train_loss", *self.evaluator.losses)
        require_finite(record, weights, losses, signs)

    def _is_evaluated(self, round_num: int) -> bool:
        return round_num % self.experiment.eval_every == 0 or round_num == self.last_round

    def _measured(self, round_num: int) -> dict[str, Any]:
        """Returns the metrics of an evaluated round.

        A private run leaves out metrics that are infinite or NaN because of client state, so that they do not end it.
        """
        unseen = self.partition.unseen
        over_unseen = {} if unseen is None else self.evaluator.measured_unseen(self.trainer, unseen)
        found = {**self.evaluator.measured(self.trainer, round_num), **over_unseen, **self.trainer.measured()}
        if is_private(self.experiment) and self.experiment.process.keeps:
            return {name: value for name, value in found.items() if not isinstance(value, float) or math.isfinite(value)}
        return found

    def _timed(self, measure: Any, *args: Any) -> Any:
        """Returns the result of `measure`, and adds its seconds to the phase of evaluation."""
        started = time.perf_counter()
        found = measure(*args)
        self.seconds["evaluation"] += time.perf_counter() - started
        return found

    def is_measured(self, metric: str) -> bool:
        if metric.startswith("global_") and self.trainer.global_model is None:
            return False
        return self.evaluator.is_measured(metric) or metric in self.trainer.measures

    def client_predictions(self) -> list[np.ndarray]:
        return self.evaluator.client_predictions(self.trainer, self.partition)

    def test_predictions(self) -> np.ndarray:
        return self.evaluator.test_predictions(self.trainer)

    def keep(self, folder: RunFolder, round_num: int) -> None:
        """Writes the server's view of an observed round with the weights that the server sent, and the evaluator's files.

        In the rounds of `evaluation.client_every` these include the metrics of the clients' models in this view.
        """
        if self.trainer.observed:
            sent, model = tuple(np.asarray(w) for w in self._sent), self.evaluator.model
            count = len(model.initial_weights[0])
            trained = (*range(count), *(count + i for i in model.statistics))
            view = dataclasses.replace(self.trainer.observed, model=sent, trained=trained)
            make_folder(folder.observed)
            with replacing(folder.observed / f"round_{round_num:06d}.npz") as partial:
                view.save(partial)
            if round_num % (self.experiment.evaluation.client_every or round_num + 1) == 0:
                self._timed(self._keep_models, view, folder)
        self.evaluator.keep(folder, round_num)

    def _keep_models(self, view: ServerView, folder: RunFolder) -> None:
        """Writes the metrics of the clients' models that the server received. Raises `FedlabError` if it received none."""
        num_trainable = len(self.evaluator.model.initial_weights[0])
        assert view.layout is not None
        with self.experiment.secure.build(view.layout, view.most_clients, self.experiment.seed, self.num_rounds) as protocol:
            models = models_in(view, protocol, num_trainable)
        if models is None:
            raise FedlabError(
                f"the messages of round {view.round} contain no update of a model: leave evaluation.client_every out."
            )
        self.evaluator.keep_models(models, self.partition, folder, view.round)

    def finish(self, folder: RunFolder) -> dict[str, Any]:
        """Returns the final ε and metrics; writes the models, tables per client, and privacy.csv if examples are protected.

        ε is that of all planned rounds, also if the run ended earlier: the trained models determined when it ended.
        """
        ledger, figures = self.privacy.per_client(self.num_rounds), self.privacy.figures(self.num_rounds)
        if ledger:
            write_ledger(folder.ledger, ledger, figures["delta"])
        figures = {**figures, **self._timed(self._measured, self.last_round)}
        if self._best:
            self._best.note(self.last_round, figures, self.weights)
            if self._best.round:
                self.evaluator.save(self._best.weights, folder.best_model)
            figures.update(self._best.figures())
        return {**figures, **self._timed(self.evaluator.finish, self.trainer, self.partition, folder)}

    def lines(self) -> list[str]:
        own = [*self.evaluator.lines(), *self._of_init(), *self._of_loss(), *self.trainer.lines(), *self._of_unseen()]
        return [*own, *self.privacy.lines(), *self.experiment.secure.lines()]

    def _of_unseen(self) -> list[str]:
        """Returns a line about the clients that are never trained."""
        if self.partition.unseen is None:
            return []
        unseen, model = len(self.partition.unseen), self.trainer.unseen_model
        begin = f"{unseen:,} further {'client is' if unseen == 1 else 'clients are'} never trained"
        process = type(self.experiment.process).__name__
        if not self.evaluator.measures_clients:
            return [f"{begin}, and process {process} has no metrics of clients' examples, so there are none of theirs"]
        if not model:
            return [f"{begin}, and process {process} has no whole model for them, so there are no unseen_client metrics"]
        return [f"{begin}: unseen_client metrics measure {model} on their examples"]

    def _of_init(self) -> list[str]:
        """Returns lines about the initial weights and the frozen layers."""
        found = self._started
        if found is None:
            return []
        source, lines = self.experiment.init.source, []
        if source is not None:
            fresh = f"; drawn from the seed: {shown(found.fresh)}" if found.fresh else ""
            lines.append(f"initial weights from {source}: {shown(found.taken)}{fresh}")
        if found.fixed:
            lines.append(f"frozen, neither trained nor sent: {shown(found.fixed)}")
        return lines

    def _of_loss(self) -> list[str]:
        """Returns notes about the loss that clients minimise, if it is not the task's own."""
        task = self.evaluator.task
        return task.minimised.lines() if isinstance(task, Prediction) and task.minimised else []

    def claim(self) -> Claim:
        return self.privacy.claim()

    def described(self) -> dict[str, Any]:
        warnings = self.experiment.secure.lines()
        secure = {"secure": {"lines": warnings}} if warnings else {}
        found = self._started
        init = {"init": {"taken": found.taken, "drawn": found.fresh, "frozen": found.fixed}} if found else {}
        return {"privacy": self.privacy.described(), **init, **secure, **self.trainer.described()}

    def close(self) -> None:
        self.trainer.close()


def largest_metric(experiment: Experiment) -> float:
    """Returns the magnitude from which on a client's metrics are left out: they pass through the same sum as its update."""
    return min(LARGEST_METRIC, experiment.secure.largest_float)


def summing(experiment: Experiment, num_clients: int) -> SecureSumming | None:
    """Returns the protocol of a run with `num_clients` clients; None if the graph of the round computes the sums."""
    if not (needs_protocol(experiment) and experiment.engine.runs_protocols):
        return None
    most, adds_noise = experiment.cohort.most_clients(num_clients), experiment.privacy.adds_noise
    # Under privacy no client may be able to end a round: that would remove the noise and reveal the client. Clipping a coordinate
    # of a clipped update shortens the update.
    protocol = experiment.secure.under_noise() if adds_noise else experiment.secure
    return SecureSumming(protocol, most, experiment.seed, experiment.num_rounds, adds_noise)


def assemble(
    experiment: Experiment, evaluator: Evaluator, dataset: Dataset, partition: Partition, privacy: PrivacyAccount
) -> Parts:
    """Returns the components of the algorithm of `experiment`."""
    return Parts(
        model=evaluator.model,
        examples=ExampleSpec.of(dataset.train),
        client=experiment.client,
        client_optimizer=experiment.client_optimizer,
        client_schedule=experiment.client_schedule,
        server_optimizer=experiment.server_optimizer,
        aggregator=privacy.aggregator(experiment) or experiment.aggregator.build(),
        takes_weights=why_uniform(experiment) is None,
        largest_metric=largest_metric(experiment),
        num_clients=len(partition),
        num_examples=int(partition.sizes.sum()),
        max_staleness=experiment.cohort.max_staleness if isinstance(experiment.cohort, Buffered) else 0,
        keras=evaluator.keras,
    )
