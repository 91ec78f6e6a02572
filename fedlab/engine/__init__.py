"""Engines execute a built TFF process; they do not depend on any algorithm.

This module contains the classes that configurations name and the code that engines share; it imports no TensorFlow.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
from pydantic import PositiveInt

from fedlab.spec import Promise, Spec, vouches

if TYPE_CHECKING:
    import tensorflow_federated as tff

    from fedlab.secure import SecureSum, ServerView
    from fedlab.types import ExampleSet

__all__ = ["Compiled", "Engine", "EngineSpec", "RoundInput", "SecureSumming", "Tff"]

State = list  # the tensors of the process's state, in TFF's order
MOST_BLOCKS = 64  # per cohort


def block_size(num_clients: Any) -> Any:
    """Returns the number of consecutive clients in a block: at most `MOST_BLOCKS` blocks, each full except the last.

    It depends on the size of the cohort alone, an integer or a tensor. A block's contributions are accumulated in their order,
    and the sums of blocks are merged in the order of the blocks. So a sum does not depend on who computed which block.
    """
    return (num_clients + MOST_BLOCKS - 1) // MOST_BLOCKS


@dataclasses.dataclass(frozen=True)
class RoundInput:
    """One round's clients, the examples of each client, and the order in which the client visits them."""

    round: int  # 1 for the first
    clients: np.ndarray  # int64 [K]: their positions in the partition
    indices: np.ndarray  # int32 [M]: the examples of all reporting clients, end to end
    row_splits: np.ndarray  # int32 [K + 1]: client k holds indices[row_splits[k] : row_splits[k + 1]]
    order: np.ndarray  # int32 [epochs, M]: client k's columns are permutations of its own 0 … n_k − 1
    keys: np.ndarray  # int64 [K, 2]: a random key per client
    server_key: np.ndarray  # int64 [2]: a random key for the server's draws
    kept: tuple[np.ndarray, ...] = ()  # [K, …] each: the clients' states, for algorithms with client state (`algorithms.keeping`)

    @classmethod
    def empty(cls, local_epochs: int, server_key: np.ndarray, round: int = 1) -> RoundInput:
        """Returns a round without clients."""
        nobody, nothing = np.zeros(0, np.int64), np.zeros(0, np.int32)
        order, keys = np.zeros((local_epochs, 0), np.int32), np.zeros((0, 2), np.int64)
        return cls(round, nobody, nothing, np.zeros(1, np.int32), order, keys, server_key)

    def of_one_client(self, k: int) -> RoundInput:
        """Returns the same round with its `k`-th client alone."""
        return self.of_clients(k, k + 1)

    def of_clients(self, first: int, stop: int) -> RoundInput:
        """Returns the same round with its clients `first`, …, `stop` − 1 alone, such as a block."""
        begin, end = self.row_splits[first], self.row_splits[stop]
        return dataclasses.replace(
            self,
            clients=self.clients[first:stop],
            indices=self.indices[begin:end],
            row_splits=self.row_splits[first : stop + 1] - begin,
            order=self.order[:, begin:end],
            keys=self.keys[first:stop],
            kept=tuple(rows[first:stop] for rows in self.kept),
        )


@dataclasses.dataclass(frozen=True)
class SecureSumming:
    """The protocol that sums clients' contributions, and the conditions of the run."""

    spec: SecureSum
    most_clients: int  # in one round
    seed: int
    num_rounds: int
    adds_noise: bool  # whether the server adds noise to every round's sum, also in a round without clients


@runtime_checkable
class Engine(Protocol):
    """An engine executes a process. The state is a flat list of tensors; saving it saves everything."""

    state_names: list[tuple[str, ...]]  # the path of each tensor of the state, e.g. ("global_model_weights", "trainable", "0")
    bytes_down: int  # bytes that the server sends to one client in a round
    bytes_up: int  # bytes that one client sends back
    seconds: dict[str, float]  # per phase: "lowering", "tracing" and, if measured separately, "aggregation"
    observed: ServerView | None  # the server's view of the last round, if it is recorded
    side_by_side: bool  # whether several calls of `next` may run at the same time

    def initialize(self, key: np.ndarray) -> State:
        """Returns the state before the first round; `key` int64 [2] determines its draws."""
        ...

    def next(self, state: State, round_input: RoundInput) -> tuple[State, dict[str, Any]]:
        """Computes one round, which may have no clients. Returns the new state, and the process's metrics by "/"-joined path."""
        ...

    def close(self) -> None:
        """Ends everything that the engine started outside this process."""
        ...


class EngineSpec(Spec):
    """Options of an engine."""

    makes: ClassVar[Mapping[str, tuple[str, ...]]] = {"build": ("fedlab.engine.Engine",)}

    device: Literal["auto", "cpu", "gpu"] = "auto"  # auto: a GPU if TensorFlow finds one
    runs_protocols: ClassVar[bool] = True  # whether it can pass clients' contributions to a secure-sum protocol

    @property
    def reproducible(self) -> bool:
        """Returns True if the same seed gives the same bits, which only the exact class can state."""
        return vouches(self, "same bits")

    @property
    def draws_from_keys(self) -> bool:
        """Returns True if the keys of a round determine all noise in its graphs, which only the exact class can state."""
        return vouches(self, "keyed noise")

    @abc.abstractmethod
    def build(
        self, process: tff.templates.IterativeProcess, examples: ExampleSet, summing: SecureSumming | None = None
    ) -> Engine:
        """Returns the engine, with `examples` on its device. `summing`: the protocol for contributions; None: a plain sum."""


class Compiled(EngineSpec):
    """A whole round is one call of a TensorFlow graph; the examples stay on the device and a round transfers indices only."""

    vouches: ClassVar[tuple[Promise, ...]] = ("privacy", "same bits", "keyed noise")

    # The number of clients of the cohort that are computed in parallel. Their contributions are summed in the cohort's order in
    # any case, so no result depends on it. null: one per CPU core, or 1 on a GPU.
    parallel_clients: PositiveInt | None = None

    def build(
        self, process: tff.templates.IterativeProcess, examples: ExampleSet, summing: SecureSumming | None = None
    ) -> Engine:
        if summing is not None:
            from fedlab.engine.secure import SecureEngine

            return SecureEngine(process, examples, summing, self.parallel_clients)
        from fedlab.engine.compiled import CompiledEngine

        return CompiledEngine(process, examples, self.parallel_clients)


class Tff(EngineSpec):
    """TFF's own runtime, the reference for the other engines. CPU only; TFF draws the random numbers of graphs."""

    device: Literal["auto", "cpu"] = "auto"
    vouches: ClassVar[tuple[Promise, ...]] = ("privacy",)
    runs_protocols: ClassVar[bool] = False

    def build(
        self, process: tff.templates.IterativeProcess, examples: ExampleSet, summing: SecureSumming | None = None
    ) -> Engine:
        assert summing is None, "checked before"
        from fedlab.engine.reference import TffEngine

        return TffEngine(process, examples)
