"""Rounds whose sums a secure-sum protocol makes, between two graphs: what clients compute, and what the server does with it."""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import dataclasses
import itertools
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fedlab import cores, lowering
from fedlab.engine import RoundInput, SecureSumming, State
from fedlab.engine.resident import resident
from fedlab.errors import ConfigError, FedlabError
from fedlab.lowering import LoweredProcess
from fedlab.secure import BelowThreshold, Layout, Outcome, ServerView, Tensor
from fedlab.types import ExampleSet

AHEAD = 32  # clients that are computed before the protocol asks for them


class SecureEngine:
    """Runs a lowered process; what it marks as securely summed, or everything that clients send, goes through a protocol.

    Clients are computed side by side, one thread each, while the protocol agrees on keys and works on those before them. A round
    that ends with nobody in its sum leaves the state as it was, unless the server adds noise: then it is a sum of zero like any
    other, and the model does not tell how many clients there were.
    """

    def __init__(
        self,
        process: tff.templates.IterativeProcess,
        examples: ExampleSet,
        summing: SecureSumming,
        parallel_clients: int | None = None,
    ):
        started = time.perf_counter()
        self._lowered = lowering.lower(process)
        self.seconds = {"lowering": time.perf_counter() - started, "aggregation": 0.0}
        self._adds_noise = summing.adds_noise
        self._lanes = parallel_clients or (1 if tf.config.list_logical_devices("GPU") else cores.available())
        self._x, self._y = resident(examples)
        self.state_names = [path for path, _ in lowering.leaves(self._lowered.state_type)]
        self._metric_names = ["/".join(path) for path, _ in lowering.leaves(self._lowered.metrics_type)]
        self._num_in_the_clear = _tensors_in_the_clear(self._lowered, summing.spec.scope)
        self._layout = _layout(self._lowered, self._num_in_the_clear)
        self._protocol = summing.spec.build(self._layout, summing.most_clients, summing.seed, summing.num_rounds)
        self.bytes_down = lowering.num_bytes(self._lowered.message_type)
        self.bytes_up = 0 if not self._num_in_the_clear else lowering.num_bytes(self._lowered.contribution_type)
        self.observed: ServerView | None = None
        self._trace()

    def initialize(self, key: np.ndarray) -> State:
        function = tf.function(lambda key: list(self._lowered.initialize(key=key)), autograph=False)
        return list(function.get_concrete_function(tf.TensorSpec([2], tf.int64))(tf.constant(key)))

    def next(self, state: State, round_input: RoundInput) -> tuple[State, dict[str, Any]]:
        r, server_key = round_input, tf.constant(round_input.server_key)
        message = self._prepare(state, server_key)
        in_the_clear: list[list[np.ndarray]] = []
        self.observed = None
        try:
            with self._computed(message, r) as computed:
                outcome = self._protocol.run_round(r.round, r.clients.tolist(), self._contributions(computed, in_the_clear))
                abandoned = {}
        except BelowThreshold as error:  # too many have vanished
            outcome, abandoned = error.outcome, {"secure/abandoned": 1}
        self.observed = self._with_what_went_in_the_clear(outcome, r.clients.tolist(), in_the_clear)
        self.seconds["aggregation"] += outcome.seconds
        figures = {**self._figures(outcome), **abandoned}
        if not outcome.included and len(r.clients) and not self._adds_noise:
            return state, figures
        included = set(outcome.included)
        kept = [tensors for client, tensors in zip(r.clients.tolist(), in_the_clear) if client in included]
        stacked = [np.stack(tensors) for tensors in zip(*kept)] if self._num_in_the_clear and kept else self._nothing()
        new_state, metrics = self._finish(state, stacked, self._sums(outcome), server_key)
        return new_state, {**{name: value.numpy() for name, value in zip(self._metric_names, metrics)}, **figures}

    def close(self) -> None:
        self._protocol.close()
        self._x = self._y = None

    @contextlib.contextmanager
    def _computed(self, message: list[tf.Tensor], r: RoundInput) -> Iterator[Iterator[list[np.ndarray]]]:
        """What each client sends, in their order. Computing begins here, not when the first is asked for."""

        def compute(k: int) -> list[np.ndarray]:
            mine = slice(r.row_splits[k], r.row_splits[k + 1])
            sent = self._work(message, *map(tf.constant, (r.indices[mine], r.order[:, mine], r.keys[k])))
            return [t.numpy() for t in sent]

        pool = concurrent.futures.ThreadPoolExecutor(self._lanes)
        left = iter(range(len(r.clients)))
        ahead = collections.deque(pool.submit(compute, k) for k in itertools.islice(left, max(AHEAD, self._lanes)))

        def results() -> Iterator[list[np.ndarray]]:
            while ahead:
                ready = ahead.popleft().result()
                ahead.extend(pool.submit(compute, k) for k in itertools.islice(left, 1))
                yield ready

        try:
            yield results()
        finally:
            pool.shutdown(cancel_futures=True)

    def _contributions(
        self, computed: Iterator[list[np.ndarray]], in_the_clear: list[list[np.ndarray]]
    ) -> Iterator[list[np.ndarray]]:
        """What each client sends through the protocol; what it sends besides is appended to `in_the_clear`."""
        for tensors in computed:
            in_the_clear.append(tensors[: self._num_in_the_clear])
            yield tensors[self._num_in_the_clear :]

    def _with_what_went_in_the_clear(
        self, outcome: Outcome, clients: list[int], in_the_clear: list[list[np.ndarray]]
    ) -> ServerView | None:
        """The server's view, with what each client whose contribution arrived has sent beside the protocol."""
        view = outcome.server_view
        if view is None or not self._num_in_the_clear:
            return view
        received = {client: dict(items) for client, items in view.received.items()}
        for client, tensors in zip(clients, in_the_clear):
            if client in _senders(outcome):
                received.setdefault(client, {}).update({f"in_the_clear/{i}": tensor for i, tensor in enumerate(tensors)})
        return dataclasses.replace(view, received=received)

    def _sums(self, outcome: Outcome) -> list[np.ndarray]:
        """The protocol's sums, in the types in which the process wants them. Raises `FedlabError` where one does not fit."""
        leaves = self._lowered.secure_leaves
        moduli = [None] * (len(outcome.sum) - len(leaves)) + [leaf.modulus for leaf in leaves]
        sums = []
        for total, tensor, modulus in zip(outcome.sum, self._layout.tensors, moduli):
            wanted = np.mod(total, modulus) if modulus else total
            if not tensor.is_float and np.any(wanted > np.iinfo(tensor.dtype).max):
                raise FedlabError(f"a secure sum of {outcome.num_included} clients does not fit into {tensor.dtype}.")
            sums.append(wanted.astype(tensor.dtype))
        return sums

    def _figures(self, outcome: Outcome) -> dict[str, Any]:
        in_the_clear = len(_senders(outcome)) * self.bytes_up
        sent = {"bytes_up": outcome.bytes_up + in_the_clear, "bytes_down": outcome.bytes_down}
        return {
            **{f"secure/{name}": value for name, value in sent.items()},
            "secure/seconds": outcome.seconds,
            "secure/num_included": outcome.num_included,
            "secure/num_clipped": outcome.num_clipped,
            "secure/num_attempts": outcome.num_attempts,
        }

    def _nothing(self) -> list[np.ndarray]:
        """What no client has sent in the clear."""
        specs = lowering.tensor_specs(self._lowered.contribution_type)[: self._num_in_the_clear]
        return [np.zeros([0, *s.shape], s.dtype.as_numpy_dtype) for s in specs]

    def _trace(self) -> None:
        """Traces the graphs of a round, each once."""
        started = time.perf_counter()
        process, num_state = self._lowered, len(self.state_names)
        state, key = lowering.tensor_specs(process.state_type), tf.TensorSpec([2], tf.int64)
        clear_specs = lowering.tensor_specs(process.contribution_type)[: self._num_in_the_clear]
        clear = [tf.TensorSpec([None, *s.shape], s.dtype) for s in clear_specs]
        sums = [tf.TensorSpec(t.shape, t.dtype) for t in self._layout.tensors]

        def moment(server_key: tf.Tensor, number: int) -> tf.Tensor:  # as the compiled engine has them
            return server_key + tf.constant([number, 0], tf.int64)

        def prepare(state: list, server_key: tf.Tensor) -> list:
            return list(process.prepare(*state, key=moment(server_key, 1)))

        def work(message: list, indices: tf.Tensor, order: tf.Tensor, key: tf.Tensor) -> list:
            return list(process.work(order, tf.gather(self._x, indices), tf.gather(self._y, indices), *message, key=key))

        def finish(state: list, clear: list, sums: list, server_key: tf.Tensor) -> tuple[list, list]:
            while_, after = moment(server_key, 2), moment(server_key, 3)
            total = list(process.zero(key=while_))
            if clear:

                def add(k: tf.Tensor, total: list) -> tuple[tf.Tensor, list]:
                    return k + 1, list(process.accumulate(*total, *(c[k] for c in clear), key=while_ + tf.cast([0, k], tf.int64)))

                shapes = [s.shape for s in lowering.tensor_specs(process.accumulator_type)]
                count = tf.shape(clear[0])[0]
                _, total = tf.while_loop(
                    lambda k, _: k < count, add, [tf.constant(0), total], shape_invariants=[tf.TensorShape([]), shapes]
                )
                secure = sums
            else:  # accumulating is adding, and the protocol has done it
                total, secure = sums[: len(total)], sums[len(total) :]
            aggregate = process.report(*total, key=after)
            result = process.update(*state, *aggregate, *secure, key=after + tf.constant([1, 0], tf.int64))
            return list(result[:num_state]), list(result[num_state:])

        def traced(function: Any, *specs: Any) -> Any:
            return tf.function(function, autograph=False, input_signature=specs).get_concrete_function()

        ints = tf.int32
        message = lowering.tensor_specs(process.message_type)
        self._prepare = traced(prepare, state, key)
        self._work = traced(
            work,
            message,
            tf.TensorSpec([None], ints),
            tf.TensorSpec([None, None], ints),
            tf.TensorSpec([2], tf.int64),
        )
        self._finish = traced(finish, state, clear, sums, key)
        self.seconds["tracing"] = time.perf_counter() - started


def _senders(outcome: Outcome) -> set[int]:
    """The clients whose contribution, and what they send beside it, reached the server."""
    return {*outcome.senders, *outcome.included}


def _tensors_in_the_clear(process: LoweredProcess, scope: str) -> int:
    """How many of a contribution's tensors do not go through the protocol. Raises `ConfigError` for what cannot be summed so."""
    if scope == "marked":
        if not process.secure_leaves:
            raise ConfigError(
                "secure.scope=marked, but this process marks nothing as securely summed: use aggregator=secure, or "
                "secure.scope=everything."
            )
        return len(lowering.leaves(process.contribution_type))
    if not process.accumulate_is_sum:
        raise ConfigError(
            "this aggregator does more with clients' updates than to add them up, which a secure sum cannot: use "
            "aggregator=mean, robust or secure, or secure=plain."
        )
    return 0


def _layout(process: LoweredProcess, num_in_the_clear: int) -> Layout:
    """What a client sends through the protocol."""
    others = [Tensor(tuple(s.shape), s.dtype.as_numpy_dtype(0).dtype) for s in lowering.tensor_specs(process.contribution_type)]
    marked = [
        Tensor(tuple(leaf.type.shape), np.dtype(leaf.type.dtype), leaf.bound or leaf.modulus) for leaf in process.secure_leaves
    ]
    return Layout((*others[num_in_the_clear:], *marked))
