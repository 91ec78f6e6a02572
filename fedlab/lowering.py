"""TFF computations as plain TensorFlow functions. This is the only module that uses TFF's internals.

TFF's map-reduce compiler splits a learning process into TensorFlow graphs: `prepare` (the server's message), `work` (a client's
computation), `zero`/`accumulate`/`merge` (the sum), `report` and `update` (the server's computation). `lower` splits a process;
`load` makes each graph callable inside a `tf.function`, without TFF's runtime.
"""

from __future__ import annotations

import collections
import dataclasses
import types
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff
from tensorflow.python.autograph.core import config as autograph
from tensorflow_federated.python.core.impl.computation import computation_impl
from tensorflow_federated.python.core.impl.executor_stacks import executor_factory

from fedlab.dataset_loops import replace_reduce
from fedlab.errors import FedlabError, one_line
from fedlab.graph_fingerprint import computation_fingerprint
from fedlab.rewriting import UnsupportedGraph, rewrite, with_placeholders
from fedlab.stateless import KEY, UnsupportedRandomOp, make_stateless

Flat = Sequence[tf.Tensor]  # a structure's tensors, in TFF's order

# AutoGraph rewrites the source of traced functions and of their callees. Our code, and these parts of TFF, branch and loop over
# Python values only: rewriting changes nothing and takes 1/4 of the time to build a process. Users' layers are rewritten.
_LEARNING = "tensorflow_federated.python.learning"
_AS_THEY_ARE = ("fedlab", f"{_LEARNING}.optimizers", f"{_LEARNING}.tensor_utils")
autograph.CONVERSION_RULES = (*map(autograph.DoNotConvert, _AS_THEY_ARE), *autograph.CONVERSION_RULES)


@dataclasses.dataclass(frozen=True)
class SecureLeaf:
    """A tensor that the process sums securely: the largest value of a client, or the modulus of the sum."""

    path: tuple[str, ...]
    type: tff.TensorType  # integers
    bound: int | None  # largest value of one client, not negative; None if `modulus` is used instead
    modulus: int | None


@dataclasses.dataclass(frozen=True)
class LoweredProcess:
    """A learning process as TensorFlow functions over flat lists of tensors, to be called while a graph is traced."""

    # Each also takes `key`, int64 [2], which alone determines its random draws
    initialize: Callable[..., Flat]  # () → state
    prepare: Callable[..., Flat]  # (*state) → message to every client
    work: Callable[..., Flat]  # (*the tensors of a client's single data element, *message) → contribution, secure leaves
    zero: Callable[..., Flat]  # () → accumulator
    accumulate: Callable[..., Flat]  # (*accumulator, *contribution) → accumulator
    merge: Callable[..., Flat]  # (*accumulator, *accumulator of the clients after those) → accumulator
    report: Callable[..., Flat]  # (*accumulator) → aggregate
    update: Callable[..., Flat]  # (*state, *aggregate, *sums of the secure leaves) → state, metrics
    state_type: tff.Type
    metrics_type: tff.Type
    element_type: tff.Type  # of a client's single data element
    message_type: tff.Type
    contribution_type: tff.Type
    accumulator_type: tff.Type
    secure_leaves: tuple[SecureLeaf, ...]
    accumulate_is_sum: bool  # True if, except for `kept`, `accumulate` only adds tensor by tensor and `zero` is zeros
    kept: tuple[int, ...]  # positions, in a contribution and in the accumulator, of tensors that never leave the client

    def apart(self, tensors: Sequence) -> tuple[list, list]:
        """Splits a contribution, or an accumulator, into the tensors that clients keep and the others."""
        return [tensors[i] for i in self.kept], [tensor for i, tensor in enumerate(tensors) if i not in self.kept]

    def together(self, kept: Sequence, rest: Sequence) -> list:
        """Merges the two lists of `apart` again."""
        of_kept, of_rest = iter(kept), iter(rest)
        return [next(of_kept if i in self.kept else of_rest) for i in range(len(kept) + len(rest))]


# The name of a structure of tensors that clients keep from round to round. A process stacks them, a row per client, so that it
# works on every engine; no engine counts them as sent, sums them, or gives them to a protocol
KEPT = "kept_by_client"


class LoweringError(FedlabError):
    """The process has a part that cannot be executed as one graph."""


def start_workers_with(popen: type) -> None:
    """Makes TFF's runtime start its worker process with `popen` instead of `subprocess.Popen`; TFF has no option for it."""
    executor_factory.subprocess = types.SimpleNamespace(Popen=popen)


_MOST_KNOWN, _LARGEST_KNOWN = 16, 4_000_000  # processes; bytes of a process, most of which are its initial weights
_known: collections.OrderedDict[str, LoweredProcess] = collections.OrderedDict()  # the last ones, by their fingerprints


def lower(process: tff.templates.IterativeProcess) -> LoweredProcess:
    """Splits `process`, whose client data is one-element sequences. Raises `LoweringError` if TFF cannot split it.

    Returns the earlier result for a process equal to one that was split before, such as that of a run that is resumed or verified
    in the same Python process. Remembers small processes only.
    """
    if sum(proto.ByteSize() for proto in _protos(process)) > _LARGEST_KNOWN:
        return _split(process)
    name = fingerprint(process)
    _known[name] = found = _known.pop(name, None) or _split(process)
    if len(_known) > _MOST_KNOWN:
        _known.popitem(last=False)
    return found


def fingerprint(process: tff.templates.IterativeProcess) -> str:
    """Returns a text that is equal for equal processes, also if they have been built separately."""
    return " ".join(map(computation_fingerprint, _protos(process)))


def _protos(process: tff.templates.IterativeProcess) -> list[Any]:
    return [computation_impl.ConcreteComputation.get_proto(part) for part in (process.initialize, process.next)]


def _split(process: tff.templates.IterativeProcess) -> LoweredProcess:
    """Splits `process` with TFF's map-reduce compiler."""
    form = _map_reduce_form(process)
    initialize = tff.backends.mapreduce.get_state_initialization_computation(process.initialize, grappler_config=_no_grappler())
    contribution = form.work.type_signature.result[0]
    message = form.prepare.type_signature.result
    kept = tuple(i for i, (path, _) in enumerate(leaves(contribution)) if KEPT in path)
    in_accumulator = tuple(i for i, (path, _) in enumerate(leaves(form.accumulate.type_signature.result)) if KEPT in path)
    if kept != in_accumulator:
        raise LoweringError("the process does not stack the tensors that clients keep: use `fedlab.algorithms.keeping`.")
    return LoweredProcess(
        initialize=load(initialize),
        prepare=load(form.prepare),
        work=load(form.work, data_as_tensors=True),
        zero=load(form.zero),
        accumulate=load(form.accumulate),
        merge=load(form.merge),
        report=load(form.report),
        update=load(form.update),
        state_type=form.update.type_signature.result[0],
        metrics_type=form.update.type_signature.result[1],
        element_type=form.work.type_signature.parameter[0].element,
        message_type=message,
        contribution_type=contribution,
        accumulator_type=form.accumulate.type_signature.result,
        secure_leaves=_secure_leaves(form),
        accumulate_is_sum=_is_sum(form.accumulate, kept) and _is_zero(form.zero, kept),
        kept=kept,
    )


def _secure_leaves(form: tff.backends.mapreduce.MapReduceForm) -> tuple[SecureLeaf, ...]:
    """Returns the secure leaves in the order in which `work` returns them and `update` takes their sums."""
    _, by_bitwidth, by_max_input, by_modulus = form.work.type_signature.result
    found = [
        SecureLeaf(path, kind, 2**bits - 1, None)
        for (path, kind), bits in zip(leaves(by_bitwidth), _constants(form.secure_sum_bitwidth))
    ]
    found += [
        SecureLeaf(path, kind, largest, None)
        for (path, kind), largest in zip(leaves(by_max_input), _constants(form.secure_sum_max_input))
    ]
    found += [
        SecureLeaf(path, kind, None, modulus)
        for (path, kind), modulus in zip(leaves(by_modulus), _constants(form.secure_modular_sum_modulus))
    ]
    return tuple(found)


def _constants(computation: tff.Computation) -> list[int]:
    """Returns the numbers that a computation without parameters computes."""
    if not leaves(computation.type_signature.result):
        return []
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        return [int(value) for value in session.run(list(load(computation)()))]


def _is_sum(accumulate: tff.Computation, kept: Sequence[int]) -> bool:
    """Returns True if, except for `kept`, a TFF computation (a, b) → c adds each tensor of a to that of b."""
    proto = computation_impl.ConcreteComputation.get_proto(accumulate).tensorflow
    graph = tf.compat.v1.GraphDef.FromString(proto.graph_def.value)
    nodes = {node.name: node for node in graph.node}

    def origin(name: str) -> str:
        node = nodes[name.split(":")[0]]
        return origin(node.input[0]) if node.op == "Identity" else node.name

    first, second = ([name.split(":")[0] for name in _tensor_names(part)] for part in proto.parameter.struct.element)
    results = [nodes[origin(name)] for name in _tensor_names(proto.result)]
    if not len(first) == len(second) == len(results):
        return False
    return all(
        node.op in ("AddV2", "Add") and {origin(i) for i in node.input[:2]} == {a, b}
        for i, (node, a, b) in enumerate(zip(results, first, second))
        if i not in kept
    )


def _is_zero(zero: tff.Computation, kept: Sequence[int]) -> bool:
    """Returns True if, except for `kept`, a TFF computation without parameters returns only zeros of fixed shapes."""
    specs = [spec for i, spec in enumerate(tensor_specs(zero.type_signature.result)) if i not in kept]
    if not all(spec.shape.is_fully_defined() for spec in specs):
        return False
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        values = session.run(list(load(zero)(key=tf.zeros([2], tf.int64))))
    return not any(np.any(value) for value in values)


def _no_grappler() -> tf.compat.v1.ConfigProto:
    """Returns a configuration without Grappler, which would lower loops to v1 control flow, which our loop over the cohort cannot
    contain."""
    config = tf.compat.v1.ConfigProto()
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    return config


def _map_reduce_form(process: tff.templates.IterativeProcess) -> tff.backends.mapreduce.MapReduceForm:
    try:
        return tff.backends.mapreduce.get_map_reduce_form_for_computation(process.next, grappler_config=_no_grappler())
    except (TypeError, ValueError) as error:
        raise LoweringError(
            "a round of this process is more than a broadcast, the work of clients and one aggregation, so it cannot be computed "
            f"as one graph ({one_line(error)[:200]}): use engine=tff."
        ) from error


def bytes_moved(process: tff.templates.IterativeProcess) -> tuple[int, int]:
    """Returns the bytes that a round of `process` sends to one client and that the client sends back, including secure sums."""
    form = _map_reduce_form(process)
    return num_bytes(form.prepare.type_signature.result), num_bytes_sent(form.work.type_signature.result)


def leaves(type_spec: tff.Type, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], tff.TensorType]]:
    """Returns (path of names, tensor type) for each tensor of a TFF type, in TFF's order; unnamed elements get numbers."""
    if not isinstance(type_spec, tff.StructType):
        return [(path, type_spec)]
    elements = enumerate(tff.structure.iter_elements(type_spec))
    return [leaf for i, (name, element) in elements for leaf in leaves(element, (*path, name or str(i)))]


def tensor_specs(type_spec: tff.Type) -> list[tf.TensorSpec]:
    """Returns the shape and dtype of each tensor of a TFF type."""
    return [tf.TensorSpec(leaf.shape, leaf.dtype) for _, leaf in leaves(type_spec)]


def num_bytes_sent(type_spec: tff.Type) -> int:
    """Returns the total size of a contribution's tensors of fixed shape that leave the client."""
    specs = [tf.TensorSpec(leaf.shape, leaf.dtype) for path, leaf in leaves(type_spec) if KEPT not in path]
    return sum(s.shape.num_elements() * s.dtype.size for s in specs if s.shape.is_fully_defined())


def num_bytes(type_spec: tff.Type) -> int:
    """Returns the total size of all tensors of fixed shape."""
    specs = tensor_specs(type_spec)
    return sum(s.shape.num_elements() * s.dtype.size for s in specs if s.shape.is_fully_defined())


def load(computation: tff.Computation, data_as_tensors: bool = False) -> Callable[..., Flat]:
    """Returns a TFF TensorFlow computation as a function of its flat inputs and a random key, to call while a graph is traced.

    `data_as_tensors`: the first parameter is a sequence of one element; the function takes that element's tensors instead.
    Raises `LoweringError` for an op that cannot be part of a round.
    """
    proto = computation_impl.ConcreteComputation.get_proto(computation).tensorflow
    graph = tf.compat.v1.GraphDef.FromString(proto.graph_def.value)
    if any(node.op == "VarHandleOp" for nodes in (graph.node, *(f.node_def for f in graph.library.function)) for node in nodes):
        raise LoweringError(
            "the process computes with variables, which clients in parallel would share: use engine=tff, or a "
            "tff.learning.models.FunctionalModel."
        )
    if data_as_tensors:
        replace_reduce(graph)
    try:
        draws = make_stateless(graph)
        rewrite(graph)
        inputs = _tensor_names(proto.parameter) if proto.HasField("parameter") else []
        outputs = _tensor_names(proto.result)
        if data_as_tensors:
            graph, element = with_placeholders(graph, outputs)
            inputs = [*element, *inputs[1:]]
    except UnsupportedRandomOp as error:
        raise LoweringError(f"the graph draws with {error} which cannot be made reproducible") from error
    except UnsupportedGraph as error:
        raise LoweringError(str(error)) from error
    present = {node.name for node in graph.node}
    used: list[str | None] = [name if name.split(":")[0] in present else None for name in inputs]

    def call(*args: tf.Tensor, key: tf.Tensor | None = None) -> Flat:
        assert len(args) == len(used), (len(args), len(used))
        # tf.identity: a mapped tensor must belong to the graph that is being traced
        feed = {name: tf.identity(arg) for name, arg in zip(used, args) if name}
        if draws:
            assert key is not None, "this computation draws random numbers"
            feed[f"{KEY}:0"] = tf.identity(key)
        return tf.graph_util.import_graph_def(graph, name="", input_map=feed, return_elements=outputs)

    return call


def _tensor_names(binding: Any) -> list[str]:
    kind = binding.WhichOneof("binding")
    if kind == "tensor":
        return [binding.tensor.tensor_name]
    if kind == "sequence":
        return [binding.sequence.variant_tensor_name]
    return [name for element in binding.struct.element for name in _tensor_names(element)] if kind == "struct" else []
