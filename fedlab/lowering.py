"""TFF computations as plain TensorFlow functions. The only module that touches TFF's internals.

TFF's map-reduce compiler splits a learning process into TensorFlow graphs: `prepare` (what the server sends), `work` (what a
client does with it), `zero`/`accumulate` (the sum), `report` and `update` (what the server makes of it). `lower` does the
split; `load` makes each graph callable inside a `tf.function`, without TFF's runtime.
"""

from __future__ import annotations

import dataclasses
import itertools
import subprocess
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff
from tensorflow.python.autograph.core import config as autograph
from tensorflow.python.eager import context
from tensorflow.python.framework import op_def_registry
from tensorflow_federated.python.core.impl.computation import computation_impl
from tensorflow_federated.python.core.impl.executor_stacks import executor_factory

from fedlab.errors import FedlabError
from fedlab.stateless import KEY, UnsupportedRandomOp, make_stateless

Flat = Sequence[tf.Tensor]  # a structure's tensors, in TFF's order
_serial = itertools.count()

# AutoGraph rewrites the source of what is traced and of all that it calls. Our code, and these parts of TFF, branch and loop over
# Python's values only: nothing comes of it, at a quarter of the time that building a process takes. Users' layers are rewritten.
_LEARNING = "tensorflow_federated.python.learning"
_AS_THEY_ARE = ("fedlab", f"{_LEARNING}.optimizers", f"{_LEARNING}.tensor_utils")
autograph.CONVERSION_RULES = (*map(autograph.DoNotConvert, _AS_THEY_ARE), *autograph.CONVERSION_RULES)


@dataclasses.dataclass(frozen=True)
class SecureLeaf:
    """A tensor that the process asks to be summed securely: what a client may give, and modulo what the sum is wanted."""

    path: tuple[str, ...]
    type: tff.TensorType  # integers
    bound: int | None  # largest value of one client, which is not negative; None where `modulus` takes its place
    modulus: int | None


@dataclasses.dataclass(frozen=True)
class LoweredProcess:
    """A learning process as TensorFlow functions over flat lists of tensors, to be called while tracing a graph."""

    # Each also takes `key`, int64 [2], which is all that what it draws at random depends on
    initialize: Callable[..., Flat]  # () → state
    prepare: Callable[..., Flat]  # (*state) → message to every client
    work: Callable[..., Flat]  # (*the tensors of a client's single data element, *message) → contribution, secure leaves
    zero: Callable[..., Flat]  # () → accumulator
    accumulate: Callable[..., Flat]  # (*accumulator, *contribution) → accumulator
    report: Callable[..., Flat]  # (*accumulator) → aggregate
    update: Callable[..., Flat]  # (*state, *aggregate, *sums of the secure leaves) → state, metrics
    state_type: tff.Type
    metrics_type: tff.Type
    message_type: tff.Type
    contribution_type: tff.Type
    accumulator_type: tff.Type
    secure_leaves: tuple[SecureLeaf, ...]
    accumulate_is_sum: bool  # whether `accumulate` adds tensor by tensor and nothing else, and `zero` is zeros


class LoweringError(FedlabError):
    """The process has a part that cannot be executed as one graph."""


def start_workers_with(popen: type[subprocess.Popen]) -> None:
    """Has TFF's runtime start its worker process with `popen` instead of `subprocess.Popen`; TFF offers no option for it."""
    executor_factory.subprocess = types.SimpleNamespace(Popen=popen)


def lower(process: tff.templates.IterativeProcess) -> LoweredProcess:
    """Splits `process`, whose client data is one-element sequences. Raises `LoweringError` where TFF cannot."""
    form = _map_reduce_form(process)
    initialize = tff.backends.mapreduce.get_state_initialization_computation(process.initialize, grappler_config=_no_grappler())
    contribution = form.work.type_signature.result[0]
    message = form.prepare.type_signature.result
    return LoweredProcess(
        initialize=load(initialize),
        prepare=load(form.prepare),
        work=load(form.work, data_as_tensors=True),
        zero=load(form.zero),
        accumulate=load(form.accumulate),
        report=load(form.report),
        update=load(form.update),
        state_type=form.update.type_signature.result[0],
        metrics_type=form.update.type_signature.result[1],
        message_type=message,
        contribution_type=contribution,
        accumulator_type=form.accumulate.type_signature.result,
        secure_leaves=_secure_leaves(form),
        accumulate_is_sum=_is_sum(form.accumulate) and _is_zero(form.zero),
    )


def _secure_leaves(form: tff.backends.mapreduce.MapReduceForm) -> tuple[SecureLeaf, ...]:
    """In the order in which `work` gives them and `update` takes their sums."""
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
    """The numbers that a computation without parameters gives."""
    if not leaves(computation.type_signature.result):
        return []
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        return [int(value) for value in session.run(list(load(computation)()))]


def _is_sum(accumulate: tff.Computation) -> bool:
    """Whether each result of a TFF computation (a, b) → c is the sum of the tensors at its place in a and in b."""
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
        for node, a, b in zip(results, first, second)
    )


def _is_zero(zero: tff.Computation) -> bool:
    """Whether a TFF computation without parameters gives zeros of fixed shapes only."""
    specs = tensor_specs(zero.type_signature.result)
    if not all(spec.shape.is_fully_defined() for spec in specs):
        return False
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        values = session.run(list(load(zero)(key=tf.zeros([2], tf.int64))))
    return not any(np.any(value) for value in values)


def _no_grappler() -> tf.compat.v1.ConfigProto:
    """Grappler would lower loops to v1 control flow, which cannot be nested in our loop over the cohort."""
    config = tf.compat.v1.ConfigProto()
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    return config


def _map_reduce_form(process: tff.templates.IterativeProcess) -> tff.backends.mapreduce.MapReduceForm:
    return tff.backends.mapreduce.get_map_reduce_form_for_computation(process.next, grappler_config=_no_grappler())


def bytes_moved(process: tff.templates.IterativeProcess) -> tuple[int, int]:
    """What a round of `process` sends to one client, and what the client sends back, securely summed values included."""
    form = _map_reduce_form(process)
    return num_bytes(form.prepare.type_signature.result), num_bytes(form.work.type_signature.result)


def leaves(type_spec: tff.Type, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], tff.TensorType]]:
    """(path of names, tensor type) for each tensor of a TFF type, in TFF's order; an unnamed element is its number."""
    if not isinstance(type_spec, tff.StructType):
        return [(path, type_spec)]
    elements = enumerate(tff.structure.iter_elements(type_spec))
    return [leaf for i, (name, element) in elements for leaf in leaves(element, (*path, name or str(i)))]


def tensor_specs(type_spec: tff.Type) -> list[tf.TensorSpec]:
    """Shape and dtype of each tensor of a TFF type."""
    return [tf.TensorSpec(leaf.shape, leaf.dtype) for _, leaf in leaves(type_spec)]


def num_bytes(type_spec: tff.Type) -> int:
    """Size of all tensors of fixed shape."""
    specs = tensor_specs(type_spec)
    return sum(s.shape.num_elements() * s.dtype.size for s in specs if s.shape.is_fully_defined())


def load(computation: tff.Computation, data_as_tensors: bool = False) -> Callable[..., Flat]:
    """A TFF TensorFlow computation as a function of its flat inputs and a random key, to be called while a graph is traced.

    `data_as_tensors`: the first parameter is a sequence of one element; the function takes that element's tensors instead.
    Raises `LoweringError` for a random op that cannot follow a key.
    """
    proto = computation_impl.ConcreteComputation.get_proto(computation).tensorflow
    graph = tf.compat.v1.GraphDef.FromString(proto.graph_def.value)
    try:
        draws = make_stateless(graph)
    except UnsupportedRandomOp as error:
        raise LoweringError(f"the graph draws with {error} which cannot be made reproducible") from error
    _drop_colocation(graph)
    _sum_in_pairs(graph)
    _keep_batch_norm_off_onednn(graph)
    _make_function_names_unique(graph)
    inputs = _tensor_names(proto.parameter) if proto.HasField("parameter") else []
    outputs = _tensor_names(proto.result)
    if data_as_tensors:
        graph, element = _replace_dataset(graph, outputs)
        inputs = [*element, *inputs[1:]]
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


def functions_named_in(node: tf.compat.v1.NodeDef) -> Iterator:
    """The function references among a node's attributes."""
    for attr in node.attr.values():
        if attr.HasField("func"):
            yield attr.func
        yield from attr.list.func


def _drop_colocation(graph: tf.compat.v1.GraphDef) -> None:
    """Removes wishes to sit on the device of another node, which merging graphs may have taken away; clipping has such."""
    for node in itertools.chain(graph.node, *(f.node_def for f in graph.library.function)):
        if "_class" in node.attr:
            del node.attr["_class"]


def _sum_in_pairs(graph: tf.compat.v1.GraphDef) -> None:
    """Adds the terms of a longer sum one after the other. AddN takes first whichever it finds free to be overwritten, which
    depends on what runs beside it, and so do the last bits of a sum of three. Of two they do not."""
    for nodes, output in ((graph.node, ""), *((f.node_def, ":sum:0") for f in graph.library.function)):
        for node in [n for n in nodes if n.op == "AddN" and n.attr["N"].i > 2]:
            terms, rest = list(node.input[: node.attr["N"].i]), list(node.input[node.attr["N"].i :])
            total = terms[0]
            node.attr["N"].i = 2
            for i, term in enumerate(terms[1:-1]):
                partial = nodes.add(name=f"{node.name}_of_{i + 2}", op="AddN", input=[total, term], attr=node.attr)
                total = partial.name + output
            del node.input[:]
            node.input.extend([total, terms[-1], *rest])


_BATCH_NORM = {  # op → how many of its first inputs are images
    "FusedBatchNormV3": 1,
    "FusedBatchNormGradV3": 2,
}


def _keep_batch_norm_off_onednn(graph: tf.compat.v1.GraphDef) -> None:
    """Gives images [a, b, c, d] to fused batch normalization as [a, b, c, d, 1] or [a, b, c, 1, d], which oneDNN leaves alone.

    oneDNN's kernels of this op and of its gradient keep the number of channels, and where moments are, in fields of the kernel
    (tensorflow/core/kernels/mkl/mkl_fused_batch_norm_op.cc), which calls that run at the same time share. Where clients run side
    by side, one overwrites what another is about to use. That corrupts memory where the numbers of channels differ, as in Keras'
    layer normalization, whose channels are the examples of a batch; elsewhere a client may get the moments of another. In five
    dimensions the op is TensorFlow's own, which computes it as if it had four.
    """
    for nodes, function in ((graph.node, None), *((f.node_def, f) for f in graph.library.function)):
        renamed: dict[str, str] = {}
        for node in list(nodes):
            if node.op in ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormGrad", "FusedBatchNormGradV2"):
                raise LoweringError(f"the graph has {node.op}, which may corrupt memory: use tf.compat.v1.nn.fused_batch_norm.")
            if node.op in _BATCH_NORM and len(node.attr["data_format"].s) == 4:
                renamed.update(_in_five_dimensions(node, nodes, in_function=function is not None))
        if function is not None and renamed:
            for node in nodes:
                names = [renamed.get(name, name) for name in node.input]
                del node.input[:]
                node.input.extend(names)
            for result, name in list(function.ret.items()):
                function.ret[result] = renamed.get(name, name)


def _in_five_dimensions(node: tf.compat.v1.NodeDef, nodes: Any, in_function: bool) -> dict[str, str]:
    """Rewrites one node: its name now stands for an op that gives the same outputs. Returns how a function calls these."""
    channels_last = node.attr["data_format"].s == b"NHWC"
    inner = nodes.add()
    inner.CopyFrom(node)
    inner.name = f"{node.name}_in_five_dimensions"
    inner.attr["data_format"].s = b"NDHWC" if channels_last else b"NCDHW"
    inner.attr.pop("_output_shapes", None)
    image, statistics = node.attr["T"], node.attr["U"]
    axis = nodes.add(name=f"{inner.name}_axis", op="Const")
    axis.attr["dtype"].type = tf.int32.as_datatype_enum
    axis.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(3 if channels_last else 4, tf.int32))
    for i in range(_BATCH_NORM[node.op]):
        wider = nodes.add(name=f"{inner.name}_input_{i}", op="ExpandDims")
        wider.input.extend([node.input[i], f"{axis.name}:output:0" if in_function else axis.name])
        wider.attr["T"].CopyFrom(image)
        wider.attr["Tdim"].type = tf.int32.as_datatype_enum
        inner.input[i] = f"{wider.name}:output:0" if in_function else wider.name
    outputs = [arg.name for arg in op_def_registry.get(node.op).output_arg]
    found = [f"{inner.name}:{name}:0" if in_function else f"{inner.name}:{i}" for i, name in enumerate(outputs)]
    narrow = nodes.add(name=f"{inner.name}_output", op="Squeeze", input=found[:1])
    narrow.attr["T"].CopyFrom(image)
    narrow.attr["squeeze_dims"].list.i.append(3 if channels_last else 4)
    node.op = "IdentityN"
    node.attr.clear()
    node.attr["T"].list.type.extend([image.type, *[statistics.type] * (len(outputs) - 1)])
    del node.input[:]
    node.input.extend([f"{narrow.name}:output:0" if in_function else narrow.name, *found[1:]])
    return {f"{node.name}:{name}:0": f"{node.name}:output:{i}" for i, name in enumerate(outputs)}


def _make_function_names_unique(graph: tf.compat.v1.GraphDef) -> None:
    """Renames the graph's functions, which would clash with others of this process, and registers them."""
    serial = next(_serial)
    names = {f.signature.name: f"{f.signature.name}_lowered_{serial}" for f in graph.library.function}
    bodies = [graph.node, *(f.node_def for f in graph.library.function)]
    for node in itertools.chain.from_iterable(bodies):
        node.op = names.get(node.op, node.op)
        for reference in functions_named_in(node):
            reference.name = names.get(reference.name, reference.name)
    for function in graph.library.function:
        function.signature.name = names[function.signature.name]
        context.context().add_function_def(function)


def _replace_dataset(graph: tf.compat.v1.GraphDef, outputs: list[str]) -> tuple[tf.compat.v1.GraphDef, list[str]]:
    """Replaces the read of a one-element data set by a placeholder per tensor; drops what only the data set needed."""
    source = next((node for node in graph.node if node.op == "DatasetToSingleElement"), None)
    if source is None:
        raise LoweringError("the client's work must read its data with one top-level dataset.get_single_element()")
    cut = tf.compat.v1.GraphDef(versions=graph.versions, library=graph.library)
    swapped, element = {}, []
    for i, dtype in enumerate(source.attr["output_types"].list.type):
        name = f"client_data_{i}"
        cut.node.add(name=name, op="Placeholder").attr["dtype"].type = dtype
        element.append(f"{name}:0")
        swapped[f"{source.name}:{i}"] = name
    swapped[source.name] = swapped[f"{source.name}:0"]

    nodes = {node.name: node for node in graph.node}
    needed, seen = [name.split(":")[0] for name in outputs], set()
    while needed:
        name = needed.pop()
        if name in seen or name == source.name:
            continue
        seen.add(name)
        needed += [i.lstrip("^").split(":")[0] for i in nodes[name].input]
    for node in graph.node:
        if node.name in seen:
            kept = cut.node.add()
            kept.CopyFrom(node)
            del kept.input[:]
            kept.input.extend(swapped.get(i, i) for i in node.input if i != f"^{source.name}")
    return cut, element
