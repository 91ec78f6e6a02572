"""The training of split learning: turns of clients at a server."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from fedlab import randomness
from fedlab.algorithms.base import Parts, Setting
from fedlab.algorithms.split import Split
from fedlab.algorithms.split.channel import Channel
from fedlab.algorithms.split.client import Client
from fedlab.algorithms.split.computing import Head, Inner
from fedlab.algorithms.split.parts import Part, cut_model
from fedlab.algorithms.split.relay import Relay
from fedlab.algorithms.split.server import Server
from fedlab.algorithms.split.turn import take_turn
from fedlab.algorithms.trainer import Outcome, Trainer, require_same_shapes
from fedlab.engine import RoundInput
from fedlab.errors import ConfigError
from fedlab.models.functional import TaskModel
from fedlab.tasks import Prediction
from fedlab.types import Cohort

_NOBODY = -1


class SplitTrainer(Trainer):
    """Sets up a server, a relay and one client per client of the partition, and runs their turns.

    It reads weights and scores from both sides, which is the experimenter's view and not counted as traffic. State: number of
    rounds with clients, the client with the newest weights, and the whole model's weights.
    """

    measures = ("leakage_distance_correlation",)

    def __init__(self, options: Split, parts: Parts, setting: Setting):
        started = time.perf_counter()
        if setting.dataset.train.x.dtype == np.int32:
            raise ConfigError("process=split needs images or real numbers, and the examples of this data are integers.")
        assert parts.keras is not None, "a classifier"
        self._options, self._given, self._setting = options, parts, setting
        self._weights: list = [w for ws in parts.model.initial_weights for w in ws]
        self._set_up(cut_model(parts.keras, options))
        self._counted, self._holder = 0, _NOBODY
        self.seconds = {"cutting": time.perf_counter() - started}

    def _set_up(self, parts: list[Part]) -> None:
        """Creates the parties, each with its own part and data."""
        options, train, partition = self._options, self._setting.dataset.train, self._setting.partition
        mine, own_rate = self._given.client_optimizer, options.server_learning_rate
        theirs = mine if own_rate is None else mine.model_copy(update={"learning_rate": own_rate})
        self._parts, self._channel = parts, Channel()
        self._lower = Inner(parts[0], mine, train.x.dtype, options.leakage_penalty)
        task = self._task
        head = Head(parts[2], mine, task) if self._is_u_shaped else None
        self._server = Server(Inner(parts[1], theirs) if self._is_u_shaped else Head(parts[1], theirs, task), self._channel)
        self._relay = Relay(self._of_clients(self._weights), self._channel)
        size, most = self._given.client.batch_size, self._given.client.max_local_steps
        self._clients = [
            Client(dataclasses.replace(train.select(indices), user_ids=None), self._lower, head, self._channel, size, most)
            for indices in partition.indices
        ]
        rng = randomness.generator(self._setting.seed, "leakage examples")
        everybody = np.sort(partition.owned)
        few = rng.choice(everybody, min(options.leakage_examples, len(everybody)), replace=False)
        self._looked_at = train.x[np.sort(few)]

    @property
    def _task(self) -> Prediction:
        assert isinstance(self._given.model, TaskModel), "no pair of networks"
        return self._given.model.task

    @property
    def _is_u_shaped(self) -> bool:
        return self._options.labels == "client"

    def _of_clients(self, weights: Sequence[Any]) -> list:
        """Returns the clients' part of the whole model's `weights`."""
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

    @property
    def weights(self) -> list:
        return self._weights

    def next(self, cohort: Cohort, given: RoundInput) -> Outcome:
        """Runs a turn of each client. Dropped clients are skipped: nothing was sent to them."""
        self._channel.forget()
        scores = self._round(given) if len(cohort.clients) else []
        assert self._channel.is_empty
        sent = self._channel.num_bytes()
        metrics: dict[str, Any] = {f"bytes_{direction}_{kind}": n for (direction, kind), n in sorted(sent.items())}
        if scores:
            sums = {name: sum(np.asarray(each[name], np.float64) for each in scores) for name in scores[0]}
            found = self._task.training_metrics(sums)
            metrics.update({f"train_{name}": float(value) for name, value in found.items()})
            metrics["train_num_examples"] = float(sums["num_examples"])
        down, up = (sum(n for (direction, _), n in sent.items() if direction == way) for way in ("down", "up"))
        return Outcome(len(cohort.clients), len(cohort.dropped), down, up, metrics)

    def _round(self, round_input: RoundInput) -> list[dict[str, Any]]:
        """Runs a turn of each client; returns the scores of all batches."""
        self._counted += 1
        factor = np.asarray(self._given.client_schedule.factor(tf.constant(float(self._counted))), np.float32)
        parallel = self._options.order == "parallel"
        scores: list[dict[str, Any]] = []
        if parallel:
            self._server.begin_round()
        for k, c in enumerate(round_input.clients):
            client = self._clients[c]
            self._give_weights(int(c))
            order = round_input.order[:, round_input.row_splits[k] : round_input.row_splits[k + 1]]
            server_key = randomness.key(self._setting.seed, "server of a client", round_input.round, int(c))
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
        """Sends client `c` its weights before its turn; in sequential order those of the client that had the last turn."""
        client, before = self._clients[c], self._holder
        if self._options.order == "parallel":
            self._relay.send()
            client.receive_weights("down")
            return
        self._holder = c
        if before == c:
            return
        if before == _NOBODY:
            self._relay.send()
            client.receive_weights("down")
        elif self._options.handover == "peer":
            self._clients[before].send_weights("across")
            client.receive_weights("across")
        else:
            self._clients[before].send_weights("up")
            self._relay.receive()
            self._relay.send()
            client.receive_weights("down")

    def _take_copies(self, client: Client) -> None:
        """Parallel: collects the client's and the server's parts after the turn."""
        by_examples = self._options.weigh_by_examples(True)
        client.send_examples(by_examples)
        self._server.keep_copy()
        client.send_examples(by_examples)
        client.send_weights("up")
        self._relay.collect()

    def _collect(self, of_clients: Sequence[Any], of_server: Sequence[Any]) -> None:
        """Assembles the whole model's weights from both sides."""
        positions = [p for part in self._client_parts for p in part.positions]
        found = {**dict(zip(positions, of_clients)), **dict(zip(self._parts[1].positions, of_server))}
        self._weights = [np.asarray(found[p]) for p in range(len(found))]

    def measured(self) -> dict[str, Any]:
        if not len(self._looked_at):
            return {}
        lower = [self._weights[p] for p in self._parts[0].positions]
        return {"leakage_distance_correlation": self._lower.distance_correlation(lower, self._looked_at)}

    def lines(self) -> list[str]:
        shares = [sum(w.size for w in (*part.trainable, *part.non_trainable)) for part in self._parts]
        held = [f"up to {self._parts[0].last_layer} on the client ({shares[0]:,})"]
        held.append(f"up to {self._parts[1].last_layer} on the server ({shares[1]:,})")
        held += [f"{self._parts[2].last_layer} on the client ({shares[2]:,})"] if self._is_u_shaped else []
        values = int(np.prod(self._parts[0].output_shape))
        return [f"cut: {', '.join(held)}; {values:,} activations an example"]

    def described(self) -> dict[str, Any]:
        """Returns the position of the cut."""
        layers: str | None = self._parts[1].last_layer if self._is_u_shaped else None
        return {"split": {"cut": self._parts[0].last_layer, "cut_top": layers, "cut_shape": list(self._parts[0].output_shape)}}

    def close(self) -> None:
        self._clients = []
