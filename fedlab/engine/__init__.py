"""Engines execute a built TFF process, and know no algorithm's name.

This module holds what configurations name and what engines share; it imports no TensorFlow.
"""

from __future__ import annotations

import abc
import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import numpy as np
from pydantic import PositiveInt

from fedlab.spec import Promise, Spec, vouches

if TYPE_CHECKING:
    import tensorflow_federated as tff

    from fedlab.secure import SecureSum, ServerView
    from fedlab.types import ExampleSet

__all__ = ["Compiled", "Engine", "EngineSpec", "RoundInput", "SecureSumming", "Tff"]

State = list  # the tensors of the process's state, in TFF's order


@dataclasses.dataclass(frozen=True)
class RoundInput:
    """One round's clients, which examples they hold and in which order they visit them."""

    round: int  # 1 for the first
    clients: np.ndarray  # int64 [K]: their positions in the partition
    indices: np.ndarray  # int32 [M]: the examples of all reporting clients, end to end
    row_splits: np.ndarray  # int32 [K + 1]: client k holds indices[row_splits[k] : row_splits[k + 1]]
    order: np.ndarray  # int32 [epochs, M]: client k's columns are permutations of its own 0 … n_k − 1
    keys: np.ndarray  # int64 [K, 2]: a random key per client
    server_key: np.ndarray  # int64 [2]: a random key for what the server draws


@dataclasses.dataclass(frozen=True)
class SecureSumming:
    """The protocol that sums clients' contributions, and what it has to reckon with."""

    spec: SecureSum
    most_clients: int  # in one round
    seed: int
    num_rounds: int
    adds_noise: bool  # whether the server adds noise to every round's sum, also where no client is in it


class Engine(Protocol):
    """Executes a process. The state is a flat list of tensors; saving it saves everything."""

    state_names: list[tuple[str, ...]]  # the path of each tensor of the state, e.g. ("global_model_weights", "trainable", "0")
    bytes_down: int  # what the server sends to one client in a round
    bytes_up: int  # what one client sends back
    seconds: dict[str, float]  # per phase: "lowering", "tracing" and, where it is apart from the rest, "aggregation"
    observed: ServerView | None  # what the server received in the last round, where that is recorded

    def initialize(self, key: np.ndarray) -> State:
        """The state before the first round; `key` int64 [2] decides what is drawn for it."""
        ...

    def next(self, state: State, round_input: RoundInput) -> tuple[State, dict[str, Any]]:
        """One round, which may be one without clients: the new state, and the process's metrics by "/"-joined path."""
        ...

    def close(self) -> None:
        """Ends whatever the engine started outside this process."""
        ...


class EngineSpec(Spec):
    """Options of an engine."""

    device: Literal["auto", "cpu", "gpu"] = "auto"  # auto: a GPU where TensorFlow sees one
    runs_protocols: ClassVar[bool] = True  # whether it can hand clients' contributions to a secure-sum protocol

    @property
    def reproducible(self) -> bool:
        """Whether the same seed gives the same bits: only where the exact class states it."""
        return vouches(self, "same bits")

    @abc.abstractmethod
    def build(
        self, process: tff.templates.IterativeProcess, examples: ExampleSet, summing: SecureSumming | None = None
    ) -> Engine:
        """The engine, holding `examples` where it computes. `summing`: a protocol for what clients send; None is a plain sum."""


class Compiled(EngineSpec):
    """The whole round is one TensorFlow graph call; the examples stay on the device and a round ships indices only."""

    vouches: ClassVar[tuple[Promise, ...]] = ("privacy", "same bits")

    # How many clients of the cohort are computed at the same time. Their contributions are summed in the cohort's order
    # whatever it is, so no result depends on it. null: one per CPU core, or 1 on a GPU.
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
    """TFF's own runtime, as the reference the other engines are held to. CPU only; what a graph draws at random is TFF's."""

    device: Literal["auto", "cpu"] = "auto"
    vouches: ClassVar[tuple[Promise, ...]] = ("privacy",)
    runs_protocols: ClassVar[bool] = False

    def build(
        self, process: tff.templates.IterativeProcess, examples: ExampleSet, summing: SecureSumming | None = None
    ) -> Engine:
        assert summing is None, "checked before"
        from fedlab.engine.reference import TffEngine

        return TffEngine(process, examples)
