"""A learner for split learning, whose rounds are turns of clients at a server: no TFF process, and no engine."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from fedlab import randomness
from fedlab.archive import RunFolder
from fedlab.archive.clients import write_scores
from fedlab.archive.metrics import Record
from fedlab.engine import RoundInput
from fedlab.evaluation.classifier import ClassifierEvaluator, client_summary
from fedlab.models import functional
from fedlab.randomness import Secret
from fedlab.run.classifier import build_model, client_probabilities, client_scores, require_finite, save_model
from fedlab.run.experiment import Experiment
from fedlab.run.learner import Learner, require_same_shapes, weights_hash
from fedlab.run.rounds import prepared_rounds
from fedlab.split import Split
from fedlab.split.channel import Channel
from fedlab.split.client import Client
from fedlab.split.computing import Head, Inner
from fedlab.split.parts import Part, cut_model, fresh_names
from fedlab.split.relay import Relay
from fedlab.split.server import Server
from fedlab.split.turn import take_turn
from fedlab.types import Cohort, Dataset, Partition

_NOBODY = -1


class SplitLearner(Learner):
    """Sets up a server, a relay and a client for each of the partition, and gives them the word.

    It reads weights and scores from both sides, which is the experimenter's view and not counted as traffic. State: rounds in
    which somebody took part, which client has the newest weights, and the whole model's weights.
    """

    def __init__(self, experiment: Experiment, dataset: Dataset, partition: Partition, secret: Secret | None = None):
        super().__init__(experiment, dataset, partition, secret)
        assert isinstance(experiment.process, Split)
        self._process, self.num_rounds = experiment.process, experiment.num_rounds
        started = time.perf_counter()
        examples = dataset.train
        shape, seed = examples.x.shape[1:], experiment.seed
        build = fresh_names(lambda: experiment.model(shape, examples.num_classes))
        self._keras = build_model(build, int(randomness.key(seed, "initial weights")[0] % 2**32))
        whole = functional.keras_weights(self._keras)
        model = functional.functional_classifier(build, whole, shape, examples.num_classes)
        self._evaluator = ClassifierEvaluator(model, examples.x.dtype, experiment.evaluation.batch_size)
        self._weights: list = [w for ws in whole for w in ws]
        self.num_weights = sum(w.size for w in self._weights)
        self._set_up(cut_model(self._keras, self._process))
        self._counted, self._holder = 0, _NOBODY
        self.seconds = {"cutting": time.perf_counter() - started, "training": 0.0, "evaluation": 0.0}

    def _set_up(self, parts: list[Part]) -> None:
        """The parties, each from what is its own."""
        experiment, process, train = self.experiment, self._process, self.dataset.train
        mine, own_rate = experiment.client_optimizer, process.server_learning_rate
        theirs = mine if own_rate is None else mine.model_copy(update={"learning_rate": own_rate})
        self._parts, self._channel = parts, Channel()
        self._lower = Inner(parts[0], mine, train.x.dtype, process.leakage_penalty)
        head = Head(parts[2], mine) if self._is_u_shaped else None
        self._server = Server(Inner(parts[1], theirs) if self._is_u_shaped else Head(parts[1], theirs), self._channel)
        self._relay = Relay(self._of_clients(self._weights), self._channel)
        size, most = experiment.client.batch_size, experiment.client.max_local_steps
        self._clients = [
            Client(dataclasses.replace(train.select(indices), user_ids=None), self._lower, head, self._channel, size, most)
            for indices in self.partition.indices
        ]
        rng = randomness.generator(experiment.seed, "leakage examples")
        everybody = np.sort(np.concatenate(self.partition.indices))
        few = rng.choice(everybody, min(process.leakage_examples, len(everybody)), replace=False)
        self._looked_at = train.x[np.sort(few)]

    @property
    def _is_u_shaped(self) -> bool:
        return self._process.labels == "client"

    def _of_clients(self, weights: Sequence[Any]) -> list:
        """The clients' part of the whole model's `weights`."""
        return [weights[p] for part in self._client_parts for p in part.positions]

    @property
    def _client_parts(self) -> list[Part]:
        return [self._parts[0], *self._parts[2:]]

    @property
    def state(self) -> list:
        return [np.int64(self._counted), np.int64(self._holder), *self._weights]

    def restore(self, state: Sequence[np.ndarray]) -> None:
        require_same_shapes(state, self.state)
        self._counted, self._holder, self._weights = int(state[0]), int(state[1]), list(state[2:])
        self._relay.weights = self._of_clients(self._weights)
        self._server.weights = [self._weights[p] for p in self._parts[1].positions]
        if self._holder != _NOBODY:
            self._clients[self._holder].weights = self._of_clients(self._weights)

    def rounds(self, first: int) -> Iterator[Record]:
        experiment = self.experiment
        rounds = prepared_rounds(
            self.partition, experiment.cohort, experiment.client.local_epochs, experiment.seed, first, self.num_rounds
        )
        started = time.perf_counter()
        for cohort, round_input in rounds:
            self._channel.forget()
            scores = self._round(round_input) if len(cohort.clients) else []
            assert self._channel.is_empty
            seconds = time.perf_counter() - started
            self.seconds["training"] += seconds
            record = self._record(cohort, scores, seconds)
            if cohort.round % experiment.eval_every == 0 or cohort.round == self.num_rounds:
                record.update(self._measured())
            yield record
            require_finite(record, self._weights)
            started = time.perf_counter()

    def _round(self, round_input: RoundInput) -> list[tuple[Any, Any, int]]:
        """A turn of each client; returns the scores of all batches."""
        self._counted += 1
        factor = np.asarray(self.experiment.client_schedule.factor(tf.constant(float(self._counted))), np.float32)
        parallel = self._process.order == "parallel"
        scores: list[tuple[Any, Any, int]] = []
        if parallel:
            self._server.begin_round()
        for k, c in enumerate(round_input.clients):
            client = self._clients[c]
            self._give_weights(int(c))
            order = round_input.order[:, round_input.row_splits[k] : round_input.row_splits[k + 1]]
            server_key = randomness.key(self.experiment.seed, "server of a client", round_input.round, int(c))
            take_turn(client, self._server, order, (round_input.keys[k], server_key), factor, self._is_u_shaped)
            scores += client.scores if self._is_u_shaped else self._server.scores
            if parallel:
                self._take_copies(client)
        if parallel:
            self._server.end_round()
            self._relay.average()
        newest = self._relay.weights if parallel else self._clients[self._holder].weights
        self._collect(newest, self._server.weights)
        return scores

    def _give_weights(self, c: int) -> None:
        """The weights to begin its turn with for client `c`; in sequential order from whoever had the last turn."""
        client, before = self._clients[c], self._holder
        if self._process.order == "parallel":
            self._relay.send()
            client.receive_weights("down")
            return
        self._holder = c
        if before == c:
            return
        if before == _NOBODY:
            self._relay.send()
            client.receive_weights("down")
        elif self._process.handover == "peer":
            self._clients[before].send_weights("across")
            client.receive_weights("across")
        else:
            self._clients[before].send_weights("up")
            self._relay.receive()
            self._relay.send()
            client.receive_weights("down")

    def _take_copies(self, client: Client) -> None:
        """Parallel: what a client and the server have made of their parts in its turn."""
        by_examples = self._process.weigh_by_examples(True)
        client.send_examples(by_examples)
        self._server.keep_copy()
        client.send_examples(by_examples)
        client.send_weights("up")
        self._relay.collect()

    def _collect(self, of_clients: Sequence[Any], of_server: Sequence[Any]) -> None:
        """The whole model's weights, from both sides."""
        positions = [p for part in self._client_parts for p in part.positions]
        found = {**dict(zip(positions, of_clients)), **dict(zip(self._parts[1].positions, of_server))}
        self._weights = [np.asarray(found[p]) for p in range(len(found))]

    def _record(self, cohort: Cohort, scores: Sequence[tuple[Any, Any, int]], seconds: float) -> Record:
        """One line of metrics.jsonl. Clients that have vanished are passed over: nothing was sent to them."""
        sent = self._channel.num_bytes()
        record: Record = {
            "round": cohort.round,
            "seconds": round(seconds, 6),
            "num_clients": len(cohort.clients),
            "num_dropped": len(cohort.dropped),
            "bytes_down": sum(n for (direction, _), n in sent.items() if direction == "down"),
            "bytes_up": sum(n for (direction, _), n in sent.items() if direction == "up"),
            "weights_hash": weights_hash(self._weights),
            **{f"bytes_{direction}_{kind}": n for (direction, kind), n in sorted(sent.items())},
        }
        if scores:
            count = sum(n for _, _, n in scores)
            record["train_loss"] = float(sum(float(loss) for loss, _, _ in scores) / count)
            record["train_accuracy"] = float(sum(float(correct) for _, correct, _ in scores) / count)
            record["train_num_examples"] = float(count)
        return record

    def _measured(self) -> dict[str, Any]:
        started = time.perf_counter()
        scores = self._evaluator.scores(self._weights, self.dataset.test).summary()
        found = {f"test_{name}": value for name, value in scores.items()}
        if len(self._looked_at):
            lower = [self._weights[p] for p in self._parts[0].positions]
            found["leakage_distance_correlation"] = self._lower.distance_correlation(lower, self._looked_at)
        self.seconds["evaluation"] += time.perf_counter() - started
        return found

    def is_measured(self, metric: str) -> bool:
        return super().is_measured(metric) or metric.startswith("leakage_")

    def client_probabilities(self) -> list[np.ndarray]:
        return client_probabilities(self._evaluator, self._weights, self.dataset, self.partition)

    def finish(self, folder: RunFolder) -> dict[str, Any]:
        """Test scores, distance correlation, the spread of accuracy over clients; model.keras, whole, and clients.csv."""
        figures = self._measured()
        if self.experiment.evaluation.per_client:
            scores = client_scores(self._evaluator.scores(self._weights, self.dataset.train), self.partition)
            write_scores(folder.clients, scores)
            figures.update(client_summary(np.array([score.accuracy for score in scores])))
        save_model(self._keras, self._weights, folder)
        return figures

    def lines(self) -> list[str]:
        shares = [sum(w.size for w in (*part.trainable, *part.non_trainable)) for part in self._parts]
        held = [f"up to {self._parts[0].last_layer} on the client ({shares[0]:,})"]
        held.append(f"up to {self._parts[1].last_layer} on the server ({shares[1]:,})")
        held += [f"{self._parts[2].last_layer} on the client ({shares[2]:,})"] if self._is_u_shaped else []
        values = int(np.prod(self._parts[0].output_shape))
        return [*super().lines(), f"cut: {', '.join(held)}; {values:,} activations an example"]

    def described(self) -> dict[str, Any]:
        """Where the model is cut."""
        layers: str | None = self._parts[1].last_layer if self._is_u_shaped else None
        return {"split": {"cut": self._parts[0].last_layer, "cut_top": layers, "cut_shape": list(self._parts[0].output_shape)}}

    def close(self) -> None:
        self._clients = []
