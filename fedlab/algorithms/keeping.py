"""Client state between rounds (control variates, personal weights), as an ordinary TFF process.

A client's data element contains its current state; its new state leaves the client work in a matrix with a row per client, as
clients' updates do for the median. Therefore the process is correct on every engine. An engine recognises these rows by their
name (`lowering.KEPT`): it does not count them as traffic, and neither a secure sum nor a privacy mechanism receives them, since
they represent state that never leaves a client. `keeping_trainer` passes each client its row.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fedlab.algorithms.base import Parts
from fedlab.algorithms.client_work import counted, finalizing, sent_by_client, weights_type_of
from fedlab.algorithms.composing import composed
from fedlab.errors import FedlabError
from fedlab.lowering import KEPT
from fedlab.models.training import picked
from fedlab.spec import shown

Tensors = tuple[Any, ...]
# (trainable, non_trainable, data, learning-rate factor, kept, shared) → (update, metrics, new state, additional tensors sent)
# update: initial − trained, one tensor for each trained weight that is sent (`TaskModel.trained`)
# metrics: as `client_work.local_training` returns them
# additional tensors sent: one for each of `shared`; () if there are none
KeepingUpdate = Callable[..., tuple[Tensors, collections.OrderedDict, Tensors, Tensors]]


@dataclasses.dataclass(frozen=True)
class Keeping:
    """The client state and the client step; all tensors are float32.

    A client with a value that is not finite (in its update, new state or additional tensors) keeps its old state, and its
    contribution is left out.
    """

    kept: tuple[np.ndarray, ...]  # initial state of every client
    update: KeepingUpdate
    shared: tuple[np.ndarray, ...] = ()  # initial value of the tensors that the server sends in addition to the model
    # (shared, sum over clients of the additional tensors, shapes of `shared`) → shared in the next round
    advance: Callable[[Tensors, Tensors], Tensors] = lambda shared, total: shared
    # (mean update, as the aggregator computes it) → gradient for the server optimizer, of the same shapes; None: the mean update
    gradient: Callable[[Tensors], Tensors] | None = None
    model: Any = None  # the part of the model that is sent, such as `heads.Half`; None: all of it
    # (trained weights that are sent, a client's state) → all trained weights of this client's own model; None: one model for all
    own_model: Callable[[Tensors, Tensors], Sequence] | None = None
    # The states among which a client that is never trained chooses the one whose own model has the smallest loss on its examples
    # (`partition.unseen_clients`); (): it uses the global model, or has no model if there is none
    for_unseen: tuple[tuple[np.ndarray, ...], ...] = ()

    def __post_init__(self) -> None:
        for name in ("kept", "shared"):
            given = getattr(self, name)
            try:
                arrays = tuple(np.asarray(a, np.float32) for a in given) if isinstance(given, (tuple, list)) else None
            except (TypeError, ValueError):
                arrays = None
            if arrays is None:
                raise FedlabError(f"Keeping.{name} is {_described(given)}, and must be a tuple of float32 arrays.")
            object.__setattr__(self, name, arrays)

    def check_own_model(self, parts: Parts) -> None:
        """Raises `FedlabError` if `own_model` does not return the weights of the model of `parts`."""
        if self.own_model is not None:
            found = self.own_model((self.model or parts.model).trained, self.kept)
            _alike("own_model returned", found, parts.model.trained, "all trained weights")


def learning_process(parts: Parts, keeping: Keeping, weigh_by_examples: bool) -> tff.learning.templates.LearningProcess:
    """Returns the TFF process. A client's data element has `kept`: its position in the partition, and its state."""
    sent = parts if keeping.model is None else dataclasses.replace(parts, model=keeping.model)
    gradient = keeping.gradient
    if gradient is None:
        return composed(sent, _work(sent, keeping, weigh_by_examples))

    def combine(mean: Tensors) -> Tensors:
        return _alike("gradient returned", gradient(mean), mean, "the mean update")

    return composed(sent, _work(sent, keeping, weigh_by_examples), combine=combine)


@dataclasses.dataclass(frozen=True)
class _Types:
    """The types of the values that server and clients exchange, and of the rows that clients keep."""

    weights: tff.Type
    data: tff.Type  # of a client: its examples, and what it keeps
    shared: tff.Type
    row: tuple[tf.TensorSpec, ...]  # a client's position in the partition, and its state

    @classmethod
    def of(cls, parts: Parts, keeping: Keeping) -> _Types:
        shared, kept = (tuple(tf.TensorSpec(a.shape, tf.float32) for a in arrays) for arrays in (keeping.shared, keeping.kept))
        row = (tf.TensorSpec([], tf.int32), *kept)
        element = collections.OrderedDict(kept=row, **parts.examples.element)  # alphabetical, as tf.data flattens it
        data = tff.SequenceType(tff.types.tensorflow_to_type(element))
        return cls(weights_type_of(parts.model), data, tff.types.tensorflow_to_type(shared), row)

    @property
    def one(self) -> tff.Type:
        """Returns the type of one client's row, under the name `KEPT`."""
        return _named(self.row)

    @property
    def stack(self) -> tff.Type:
        """Returns the type of several clients' rows, a row per client."""
        return _named(tuple(tf.TensorSpec([None, *s.shape], s.dtype) for s in self.row))


def _named(specs: tuple[tf.TensorSpec, ...]) -> tff.Type:
    return tff.types.tensorflow_to_type(collections.OrderedDict([(KEPT, specs)]))


def _work(parts: Parts, keeping: Keeping, weigh_by_examples: bool) -> tff.learning.templates.ClientWorkProcess:
    """Returns the client-work slot. Its state: the round's number (int32, 1 for the first), and the shared tensors."""
    types, train = _Types.of(parts, keeping), _client_step(parts, keeping, weigh_by_examples)
    learning_rate_factor, next_round = counted(parts.client_schedule)

    @tff.tensorflow.computation(types.weights, types.data, np.float32, types.shared)
    def client_update(weights, data, factor, shared):
        return train(weights, data.get_single_element(), factor, shared)

    finalize = finalizing(parts.model, client_update.type_signature.result[1])
    stacked, sharing = _stacking(types), _Sharing.of(keeping, types.shared)

    @tff.federated_computation
    def init():
        return sharing.state_of(tff.federated_value(np.int32(1), tff.SERVER), sharing.initial())

    @tff.federated_computation(
        init.type_signature.result,
        tff.FederatedType(types.weights, tff.CLIENTS),
        tff.FederatedType(types.data, tff.CLIENTS),
    )
    def next_fn(state, weights, data):
        factor = tff.federated_broadcast(tff.federated_map(learning_rate_factor, state["round"]))
        result, metrics, row, sent = tff.federated_map(client_update, (weights, data, factor, sharing.to_clients(state)))
        shared = sharing.advanced(state, sent)
        measured, rows = tff.federated_map(finalize, tff.federated_sum(metrics)), stacked(row)
        return tff.templates.MeasuredProcessOutput(
            sharing.state_of(tff.federated_map(next_round, state["round"]), shared),
            result,
            tff.federated_map(_joined(measured.type_signature.member, types.stack), (measured, rows)),
        )

    return tff.learning.templates.ClientWorkProcess(init, next_fn)


def _client_step(parts: Parts, keeping: Keeping, weigh_by_examples: bool) -> Callable[..., tuple]:
    """Returns a graph: (weights, data, factor, shared) → (result, metrics, row, additional tensors sent) of one client."""

    @tf.function(autograph=False)
    def train(weights, data, factor, shared):
        position, *before = data["kept"]
        shared = tuple(shared)
        trainable, before = tuple(weights.trainable), tuple(before)
        found = keeping.update(trainable, tuple(weights.non_trainable), data, factor, before, shared)
        trained = (*trainable, *picked(parts.model.statistics, tuple(weights.non_trainable)))
        delta, metrics, kept, sent = _checked(found, trained, before, shared)
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(t)) for t in (*delta, *kept, *sent)])
        delta = tuple(tf.where(finite, d, np.nan) for d in delta)
        result, metrics, _ = sent_by_client(delta, metrics, data, weigh_by_examples, parts.largest_metric)
        row = (position, *(tf.where(finite, new, old) for new, old in zip(kept, before)))
        sent = tuple(tf.where(finite, s, tf.zeros_like(s)) for s in sent)
        return result, metrics, collections.OrderedDict([(KEPT, row)]), sent

    return train


def _checked(found: Any, trained: Tensors, before: Tensors, shared: Tensors) -> tuple[Tensors, Any, Tensors, Tensors]:
    """Returns the results of `Keeping.update`, as tensors. Raises `FedlabError` for results of another kind or shape."""
    if not isinstance(found, tuple) or len(found) != 4:
        raise FedlabError(
            f"Keeping.update returned {_described(found)}; it must return (update, metrics, kept from now on, also sent)."
        )
    delta = _alike("update returned as update", found[0], trained, "the weights that are sent")
    if not isinstance(found[1], dict):
        raise FedlabError(
            f"Keeping.update returned as metrics {_described(found[1])}; it must return a dictionary, as local_training does."
        )
    kept = _alike("update returned as kept", found[2], before, "what was kept before")
    return delta, found[1], kept, _alike("update returned as also sent", found[3], shared, "shared")


def _stacking(types: _Types) -> Callable[[tff.Value], tff.Value]:
    """Returns the aggregation, within a federated computation, of the clients' rows to a row per client."""

    @tff.tensorflow.computation
    def no_rows():
        return collections.OrderedDict([(KEPT, tuple(tf.zeros([0, *s.shape], s.dtype) for s in types.row))])

    @tff.tensorflow.computation(types.stack, types.one)
    def add_row(rows, row):
        return tf.nest.map_structure(lambda all_rows, one: tf.concat([all_rows, one[tf.newaxis]], 0), rows, row)

    @tff.tensorflow.computation(types.stack, types.stack)
    def merge(a, b):
        return tf.nest.map_structure(lambda one, other: tf.concat([one, other], 0), a, b)

    @tff.tensorflow.computation(types.stack)
    def report(rows):
        return rows

    return lambda row: tff.federated_aggregate(row, no_rows(), add_row, merge, report)


@dataclasses.dataclass(frozen=True)
class _Sharing:
    """The tensors that the server shares in addition to the model, as functions to be called in a federated computation."""

    initial: Callable[[], Any]
    to_clients: Callable[[Any], Any]  # of the slot's state
    advanced: Callable[[Any, Any], Any]  # of the slot's state, and the additional tensors that clients have sent

    @classmethod
    def of(cls, keeping: Keeping, shared_type: tff.Type) -> _Sharing:
        @tff.tensorflow.computation
        def initial_shared():
            return tuple(tf.constant(a) for a in keeping.shared)

        @tff.tensorflow.computation(shared_type, shared_type)
        def advance(shared, total):
            return _alike("advance returned", keeping.advance(tuple(shared), tuple(total)), tuple(shared), "shared")

        if not keeping.shared:  # a federated value of no tensors can be neither broadcast nor summed
            nothing = initial_shared
            return cls(lambda: None, lambda state: tff.federated_eval(nothing, tff.CLIENTS), lambda state, sent: None)
        return cls(
            lambda: tff.federated_eval(initial_shared, tff.SERVER),
            lambda state: tff.federated_broadcast(state["shared"]),
            lambda state, sent: tff.federated_map(advance, (state["shared"], tff.federated_sum(sent))),
        )

    @staticmethod
    def state_of(round_num: Any, shared: Any) -> Any:
        """Returns the slot's state; `shared`: None if nothing is shared."""
        parts = {"round": round_num} if shared is None else {"round": round_num, "shared": shared}
        return tff.federated_zip(collections.OrderedDict(parts))


def _alike(what: str, found: Any, like: Sequence[Any], meaning: str) -> Tensors:
    """Returns `found` as tensors. Raises `FedlabError` unless they have the shapes of `like`."""
    try:
        tensors = tuple(tf.convert_to_tensor(t, tf.float32) for t in found)
    except (TypeError, ValueError):
        tensors = None
    if tensors is None or len(tensors) != len(like) or not all(map(_fits, tensors, like)):
        raise FedlabError(f"Keeping.{what} {_described(found)}; it must return {_described(like)}, like {meaning}.")
    return tensors


def _fits(tensor: Any, like: Any) -> bool:
    return bool(tensor.shape.is_compatible_with(like.shape))


def _described(found: Any) -> str:
    """Describes the shapes of tensors, or the type of any other value."""
    if not isinstance(found, (tuple, list)):
        return shown(found)
    each = [str(list(t.shape)) if hasattr(t, "shape") else shown(t) for t in found]
    return f"tensors of shapes ({', '.join(each)})"


def _joined(measured_type: tff.Type, stack_type: tff.Type) -> tff.Computation:
    """Returns a TFF computation that adds the rows to the measurements of a round."""

    @tff.tensorflow.computation(measured_type, stack_type)
    def join(measured, rows):
        return collections.OrderedDict([*measured.items(), *rows.items()])

    return join
