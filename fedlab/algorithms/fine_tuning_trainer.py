"""The training of one model, which each client fine-tunes when its own model is read."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import tensorflow_federated as tff

from fedlab import randomness
from fedlab.algorithms.base import Parts, Setting
from fedlab.algorithms.fed_avg import FedAvg
from fedlab.algorithms.keeping_trainer import Models
from fedlab.algorithms.trainer import ProcessTrainer
from fedlab.engine import Engine, RoundInput, State


class FineTuningTrainer(ProcessTrainer):
    """A `ProcessTrainer` whose clients' own models are the current global one after training on their examples."""

    def __init__(self, process: tff.templates.IterativeProcess, tuned: Parts, epochs: int, parts: Parts, setting: Setting):
        """`tuned`: the parts of FedAvg with one client, whose round is fine-tuning. `epochs`: passes over its examples."""
        super().__init__(process, parts, setting)
        self._tuned, self._epochs = tuned, epochs

    @functools.cached_property
    def _tuning(self) -> tuple[Engine, State]:
        """Returns the engine that fine-tunes, and its state before its first round."""
        engine = self._setting.engine.build(FedAvg().build(self._tuned), self._setting.dataset.train, None)
        return engine, engine.initialize(randomness.key(self._setting.seed, "initial state"))

    @property
    def models(self) -> Sequence[list]:
        """Returns each client's fine-tuned model, computed when it is read."""
        return Models(self._parts.num_clients, self._model_of)

    @property
    def global_model(self) -> list:
        return self.weights

    @property
    def unseen_model(self) -> str:
        return "the global model after fine-tuning by the client"

    def models_for_unseen(self, client: int) -> Sequence[list]:
        unseen = self._setting.partition.unseen
        assert unseen is not None, "there is a client to be evaluated"
        return [self._tuned_on(unseen.indices[client], client, " by an unseen client")]

    def _model_of(self, client: int) -> list:
        return self._tuned_on(self._setting.partition.indices[client], client)

    def _tuned_on(self, mine: np.ndarray, client: int, who: str = "") -> list:
        """Returns the global model after training on the examples at `mine` [n]. `who`: part of the purpose of random draws."""
        engine, start = self._tuning
        received = iter(self.weights)
        state = [next(received) if name[0] == "global_model_weights" else t for name, t in zip(engine.state_names, start)]
        state, _ = engine.next(state, self._input(mine, client, who))
        return [tensor for name, tensor in zip(engine.state_names, state) if name[0] == "global_model_weights"]

    def _input(self, mine: np.ndarray, client: int, who: str) -> RoundInput:
        seed = self._setting.seed
        order = np.broadcast_to(np.arange(len(mine), dtype=np.int32), (self._epochs, len(mine)))
        return RoundInput(
            round=1,
            clients=np.array([client]),
            indices=mine.astype(np.int32),
            row_splits=np.array([0, len(mine)], np.int32),
            order=randomness.generator(seed, f"order of fine-tuning{who}", client).permuted(order, axis=1),
            keys=randomness.key(seed, f"fine-tuning{who}", client)[np.newaxis],
            server_key=randomness.key(seed, f"server of fine-tuning{who}", client),
        )

    def close(self) -> None:
        if "_tuning" in self.__dict__:
            self._tuning[0].close()
        super().close()
