"""Rounds whose sums are computed by a secure-sum protocol between two graphs: the client step, and the server step."""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import dataclasses
import itertools
import time
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fedlab import lowering
from fedlab.engine import RoundInput, SecureSumming, State
from fedlab.engine.lowered import AFTER, BEFORE, WHILE, LoweredEngine, moment
from fedlab.errors import ConfigError, FedlabError
from fedlab.lowering import LoweredProcess
from fedlab.secure import BelowThreshold, Layout, Outcome, ServerView, Tensor
from fedlab.types import ExampleSet

AHEAD = 32  # number of clients that are computed before the protocol requests them


class SecureEngine(LoweredEngine):
    """Runs a lowered process; the tensors marked as securely summed, or everything that clients send, pass through a protocol.

    Clients are computed in parallel, one thread each, while the protocol agrees on keys and processes earlier clients. A round
    whose sum includes no client leaves the state unchanged, unless the server adds noise: then it counts as a sum of zero, so
    that the model does not reveal the number of clients.
    """

    side_by_side = False  # a protocol runs one round at a time

    def __init__(
        self,
        process: tff.templates.IterativeProcess,
        examples: ExampleSet,
        summing: SecureSumming,
        parallel_clients: int | None = None,
    ):
        super().__init__(process, examples, parallel_clients)
        self.seconds["aggregation"] = 0.0
        self._adds_noise = summing.adds_noise
        self._num_in_the_clear = _tensors_in_the_clear(self._lowered, summing.spec.scope)
        self._layout = _layout(self._lowered, self._num_in_the_clear)
        self._protocol = summing.spec.build(self._layout, summing.most_clients, summing.seed, summing.num_rounds)
        self.bytes_up = self.bytes_up if self._num_in_the_clear else 0
        self._trace()

    def next(self, state: State, round_input: RoundInput) -> tuple[State, dict[str, Any]]:
        r, server_key = round_input, tf.constant(round_input.server_key)
        message = self._prepare(state, server_key)
        in_the_clear: list[list[np.ndarray]] = []
        keeps: list[list[np.ndarray]] = []  # each client's new state, which no protocol receives
        self.observed = None
        try:
            with self._computed(message, r) as computed:
                contributions = self._contributions(computed, in_the_clear, keeps)
                outcome = self._protocol.run_round(r.round, r.clients.tolist(), contributions)
                abandoned = {}
        except BelowThreshold as error:  # too many clients have dropped out
            outcome, abandoned = error.outcome, {"secure/abandoned": 1}
        self.observed = self._with_what_went_in_the_clear(outcome, r.clients.tolist(), in_the_clear)
        self.seconds["aggregation"] += outcome.seconds
        figures = {**self._figures(outcome), **abandoned}
        if not outcome.included and len(r.clients) and not self._adds_noise:
            return state, figures
        included = [client in outcome.included for client in r.clients.tolist()]
        clear, kept = (_stacked(itertools.compress(rows, included), specs) for rows, specs in self._beside(in_the_clear, keeps))
        new_state, metrics = self._finish(state, clear, self._sums(outcome), kept, server_key)
        return new_state, {**self._named(metrics), **figures}

    def close(self) -> None:
        self._protocol.close()
        super().close()

    @contextlib.contextmanager
    def _computed(self, message: list[tf.Tensor], r: RoundInput) -> Iterator[Iterator[list[np.ndarray]]]:
        """Yields the contributions of the clients, in their order. Computing begins here, not at the first request."""

        def compute(k: int) -> list[np.ndarray]:
            mine = slice(r.row_splits[k], r.row_splits[k + 1])
            kept = [tf.constant(rows[k]) for rows in r.kept]
            given = self._work(message, kept, *map(tf.constant, (r.indices[mine], r.order[:, mine], r.keys[k])))
            return [t.numpy() for t in given]

        pool = concurrent.futures.ThreadPoolExecutor(self._parallel)
        left = iter(range(len(r.clients)))
        ahead = collections.deque(pool.submit(compute, k) for k in itertools.islice(left, max(AHEAD, self._parallel)))

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
        self, computed: Iterator[list[np.ndarray]], in_the_clear: list[list[np.ndarray]], keeps: list[list[np.ndarray]]
    ) -> Iterator[list[np.ndarray]]:
        """Yields each client's tensors for the protocol. Adds its other tensors to `in_the_clear`, and its state to `keeps`."""
        for tensors in computed:
            kept, sent = self._lowered.apart(tensors)
            keeps.append(kept)
            in_the_clear.append(sent[: self._num_in_the_clear])
            yield sent[self._num_in_the_clear :]

    def _beside(self, *rows: list[list[np.ndarray]]) -> Iterator[tuple[list[list[np.ndarray]], list[tf.TensorSpec]]]:
        """Returns the clients' tensors in the clear, and their states, each with its specs."""
        kept, sent = self._lowered.apart(lowering.tensor_specs(self._lowered.contribution_type))
        return zip(rows, (sent[: self._num_in_the_clear], kept))

    def _with_what_went_in_the_clear(
        self, outcome: Outcome, clients: list[int], in_the_clear: list[list[np.ndarray]]
    ) -> ServerView | None:
        """Returns the server's view, including the tensors in the clear of each client whose contribution arrived."""
        view = outcome.server_view
        if view is None or not self._num_in_the_clear:
            return view
        received = {client: dict(items) for client, items in view.received.items()}
        for client, tensors in zip(clients, in_the_clear):
            if client in _senders(outcome):
                received.setdefault(client, {}).update({f"in_the_clear/{i}": tensor for i, tensor in enumerate(tensors)})
        return dataclasses.replace(view, received=received)

    def _sums(self, outcome: Outcome) -> list[np.ndarray]:
        """Returns the protocol's sums, in the dtypes of the process. Raises `FedlabError` if one does not fit."""
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

    def _trace(self) -> None:
        """Traces the graphs of a round, each once."""
        started = time.perf_counter()
        process, num_state = self._lowered, len(self.state_names)
        state, key = lowering.tensor_specs(process.state_type), tf.TensorSpec([2], tf.int64)
        (_, clear_specs), (_, kept_specs) = self._beside([], [])
        clear, kept = ([tf.TensorSpec([None, *s.shape], s.dtype) for s in specs] for specs in (clear_specs, kept_specs))
        sums = [tf.TensorSpec(t.shape, t.dtype) for t in self._layout.tensors]
        num_summed = len(self._sum_shapes())

        def prepare(state: list, server_key: tf.Tensor) -> list:
            return list(process.prepare(*state, key=moment(server_key, BEFORE)))

        def finish(state: list, clear: list, sums: list, kept: list, server_key: tf.Tensor) -> tuple[list, list]:
            while_, after = moment(server_key, WHILE), moment(server_key, AFTER)
            if clear:

                def contribution(k: tf.Tensor) -> list:
                    return process.together([rows[k] for rows in kept], [rows[k] for rows in clear])

                total, _ = self._merged(tf.shape(clear[0])[0], contribution, while_, 1)
                secure = sums
            else:  # accumulating means adding, which the protocol has done
                total, secure = sums[:num_summed], sums[num_summed:]
            aggregate = process.report(*process.together(kept, total), key=after)
            result = process.update(*state, *aggregate, *secure, key=moment(after, 1))
            return list(result[:num_state]), list(result[num_state:])

        def traced(function: Any, *specs: Any) -> Any:
            return tf.function(function, autograph=False, input_signature=specs).get_concrete_function()

        ints = tf.int32
        message = lowering.tensor_specs(process.message_type)
        self._prepare = traced(prepare, state, key)
        self._work = traced(
            self._contribution,
            message,
            self._given_specs(),
            tf.TensorSpec([None], ints),
            tf.TensorSpec([None, None], ints),
            tf.TensorSpec([2], tf.int64),
        )
        self._finish = traced(finish, state, clear, sums, kept, key)
        self.seconds["tracing"] = time.perf_counter() - started


def _stacked(rows: Iterable[list[np.ndarray]], specs: list[tf.TensorSpec]) -> list[np.ndarray]:
    """Returns each tensor with a row per client; without rows if there is no client."""
    found = list(rows)
    return [
        np.stack([row[i] for row in found] or [np.zeros(s.shape)]).astype(s.dtype.as_numpy_dtype)[: len(found)]
        for i, s in enumerate(specs)
    ]


def _senders(outcome: Outcome) -> set[int]:
    """Returns the clients whose contribution and tensors in the clear reached the server."""
    return {*outcome.senders, *outcome.included}


def _tensors_in_the_clear(process: LoweredProcess, scope: str) -> int:
    """Returns the number of a contribution's tensors that bypass the protocol. Raises `ConfigError` if no protocol suits."""
    if scope == "marked":
        if not process.secure_leaves:
            raise ConfigError(
                "secure.scope=marked, but this process marks nothing as securely summed: use aggregator=secure, or "
                "secure.scope=everything."
            )
        return len(process.apart(lowering.leaves(process.contribution_type))[1])
    if not process.accumulate_is_sum:
        raise ConfigError(
            "this aggregator does more with clients' updates than to add them up, which a secure sum cannot: use "
            "aggregator=mean, robust or secure, or secure=plain."
        )
    return 0


def _layout(process: LoweredProcess, num_in_the_clear: int) -> Layout:
    """Returns the layout of a client's tensors for the protocol."""
    _, specs = process.apart(lowering.tensor_specs(process.contribution_type))
    others = [Tensor(tuple(s.shape), s.dtype.as_numpy_dtype(0).dtype) for s in specs]
    marked = [
        Tensor(tuple(leaf.type.shape), np.dtype(leaf.type.dtype), leaf.bound or leaf.modulus) for leaf in process.secure_leaves
    ]
    return Layout((*others[num_in_the_clear:], *marked))
