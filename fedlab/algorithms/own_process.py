"""A learning process that a user has built: its data sets made of fedlab's examples, and its training."""

from __future__ import annotations

import collections
import types
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_federated as tff

from fedlab import lowering
from fedlab.algorithms.base import Parts, Setting
from fedlab.algorithms.client_work import check_unconstrained
from fedlab.algorithms.tff_process import TffProcess
from fedlab.algorithms.trainer import Outcome, ProcessTrainer
from fedlab.errors import ConfigError
from fedlab.spec import shown
from fedlab.types import Cohort

_NO_MODEL = types.SimpleNamespace(statistics=(), fixed_bytes=0)
_OF_RECORD = {"round", "seconds", "num_clients", "num_dropped", "bytes_down", "bytes_up", "weights_hash"}


class OwnProcessTrainer(ProcessTrainer):
    """A user's process on an engine. Its weights are those that its state calls `global_model_weights`."""

    def __init__(self, options: TffProcess, build: Callable[[], Any], parts: Parts, setting: Setting):
        self._options = options
        process = self._checked(build())
        if setting.engine.reproducible and lowering.fingerprint(process) != lowering.fingerprint(self._checked(build())):
            raise ConfigError(
                f"process.build: {options.name} builds another process each time it is called: draw its initial values from the "
                "argument seed, or use engine=tff."
            )
        if "model" in options.taken:
            check_unconstrained(parts.model, "tff")
            if parts.model.statistics:
                raise ConfigError(
                    "process=tff does not support models with batch normalization, whose statistics TFF's functional models "
                    "never change: leave it out, or use process=fed_avg."
                )
            if parts.model.has_losses:
                raise ConfigError(
                    "process=tff: a layer of this model adds a loss, such as a regularizer, which TFF's functional models leave "
                    "out: leave it out, or use process=fed_avg."
                )
        super().__init__(of_raw_examples(process, parts), parts, setting)
        if options.trains_model:
            self._check_weights()

    @property
    def _sent_model(self) -> Any:
        return _NO_MODEL

    def _checked(self, process: Any) -> tff.learning.templates.LearningProcess:
        if not isinstance(process, tff.learning.templates.LearningProcess):
            raise ConfigError(
                f"process.build: {self._options.name} returned {shown(process)}; it must return a "
                "tff.learning.templates.LearningProcess."
            )
        return process

    def _check_weights(self) -> None:
        """Raises `ConfigError` unless the state contains the weights of the model."""
        found, needed = ([tuple(t.shape) for t in ts] for ts in (self.weights, sum(self._parts.model.initial_weights, ())))
        if found != needed:
            raise ConfigError(
                f"process.build: the state of {self._options.name} has weights of shapes {found}, and the model {needed}, so it "
                "cannot be evaluated: use process.trains_model=false, or another model."
            )

    @property
    def weights(self) -> list:
        """Returns the weights in the state; the whole state if it names none."""
        return super().weights or list(self._state)

    def _outcome(self, cohort: Cohort, metrics: dict[str, Any]) -> Outcome:
        return super()._outcome(cohort, {f"process_{k}" if k in _OF_RECORD else k: v for k, v in metrics.items()})

    def lines(self) -> list[str]:
        uncounted = ["traffic is not counted: TFF cannot split this process into parts of a client and of the server"]
        return [*self._options.lines(self._parts), *(uncounted if not self._engine.bytes_down else [])]


def of_raw_examples(process: tff.learning.templates.LearningProcess, parts: Parts) -> tff.learning.templates.LearningProcess:
    """Returns `process` for the data elements of `client_work.ExampleSpec`, from which each client makes its data set.

    Raises `ConfigError` if the process expects other data sets than the ones that fedlab makes.
    """
    state_type, data_type = process.next.type_signature.parameter
    raw = tff.SequenceType(tff.types.tensorflow_to_type(parts.examples.element))
    for make in _data_sets(parts):
        prepared = tff.tensorflow.computation(make, raw)
        if _fits(data_type.member, prepared.type_signature.result):
            break
    else:
        made = tff.tensorflow.computation(next(iter(_data_sets(parts))), raw).type_signature.result
        raise ConfigError(
            f"process.build: the process expects data sets of {_element(data_type.member)}, and this data gives "
            f"{_element(made)}, or the same as a dictionary of x and y, without y, or without batches."
        )

    @tff.federated_computation(state_type, tff.FederatedType(raw, tff.CLIENTS))
    def next_fn(state: Any, data: Any) -> Any:
        return process.next(state, tff.federated_map(prepared, data))

    return tff.learning.templates.LearningProcess(
        process.initialize, next_fn, process.get_model_weights, process.set_model_weights
    )


def _fits(needed: tff.Type, made: tff.Type) -> bool:
    return bool(needed.is_assignable_from(made))


def _element(sequence: tff.Type) -> str:
    return str(getattr(sequence, "element", sequence))


# The forms in which a process may expect examples: pairs, dictionaries, and inputs alone
_PACKED: tuple[Callable[..., Any], ...] = (
    lambda x, y: (x, y),
    lambda x, y: collections.OrderedDict(x=x, y=y),
    lambda x, y: x,
)


def _data_sets(parts: Parts) -> Sequence[Callable[[tf.data.Dataset], tf.data.Dataset]]:
    """Returns functions from a client's data, a data set of one element, to the data sets that a process may expect."""
    task, options = parts.model.task, parts.client

    def maker(size: int | None, packed: Callable[..., Any]) -> Callable[[tf.data.Dataset], tf.data.Dataset]:
        """`size`: the number of examples of a batch; None: single examples."""

        def make(data: tf.data.Dataset) -> tf.data.Dataset:
            element = data.get_single_element()
            x, y, order = element["x"], element["y"], element["order"]
            num_examples, step = tf.shape(y)[0], size or 1
            per_epoch = (num_examples + step - 1) // step
            count = tf.shape(order)[0] * per_epoch
            if options.max_local_steps is not None:
                count = tf.minimum(count, options.max_local_steps)

            def batch(i: tf.Tensor) -> Any:
                epoch, begin = tf.cast(i, tf.int32) // per_epoch, tf.cast(i, tf.int32) % per_epoch * step
                rows = order[epoch, begin : tf.minimum(begin + step, num_examples)]
                found = task.inputs(tf.gather(x, rows)), task.targets(tf.gather(y, rows))
                return packed(*(found if size else (tensor[0] for tensor in found)))

            return tf.data.Dataset.range(tf.cast(count, tf.int64)).map(batch).with_options(_as_it_is())

        return make

    return [maker(size, packed) for size in (options.batch_size, None) for packed in _PACKED]


def _as_it_is() -> tf.data.Options:
    """Returns options under which TensorFlow does not optimize a data set, which would take longer than reading it."""
    options = tf.data.Options()
    options.autotune.enabled = False
    options.deterministic = True
    options.experimental_optimization.apply_default_optimizations = False
    return options
