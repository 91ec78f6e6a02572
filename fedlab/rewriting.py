"""Rewrites TensorFlow graphs, in place, so that they can be part of a round: several in one graph, with clients in parallel."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf
from tensorflow.python.eager import context
from tensorflow.python.framework import op_def_registry

_serial = itertools.count()


class UnsupportedGraph(Exception):
    """The graph has an op that cannot be part of a round."""


def rewrite(graph: tf.compat.v1.GraphDef) -> None:
    """Makes `graph` independent of devices, other graphs and parallel clients. Raises `UnsupportedGraph`."""
    _drop_colocation(graph)
    _sum_in_pairs(graph)
    _keep_batch_norm_off_onednn(graph)
    _make_function_names_unique(graph)


def with_placeholders(graph: tf.compat.v1.GraphDef, outputs: Sequence[str]) -> tuple[tf.compat.v1.GraphDef, list[str]]:
    """Returns a graph with a placeholder per tensor in place of the read of a one-element data set, and their names.

    Drops the nodes that only the data set needs. Raises `UnsupportedGraph` without such a read.
    """
    source = next((node for node in graph.node if node.op == "DatasetToSingleElement"), None)
    if source is None:
        raise UnsupportedGraph("the client's work must read its data with one top-level dataset.get_single_element()")
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


def _functions_named_in(node: tf.compat.v1.NodeDef) -> Iterator:
    """Yields the function references among a node's attributes."""
    for attr in node.attr.values():
        if attr.HasField("func"):
            yield attr.func
        yield from attr.list.func


def _drop_colocation(graph: tf.compat.v1.GraphDef) -> None:
    """Removes constraints to be on the device of another node, which may be gone after merging graphs; clipping has some."""
    for node in itertools.chain(graph.node, *(f.node_def for f in graph.library.function)):
        if "_class" in node.attr:
            del node.attr["_class"]


def _sum_in_pairs(graph: tf.compat.v1.GraphDef) -> None:
    """Replaces a sum of three or more terms by sums of two, in order. AddN starts with a term whose buffer is free, which depends
    on what runs in parallel, and so the last bits of a sum of three or more terms depend on it also; those of two do not."""
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


_BATCH_NORM = {  # op → number of its first inputs that are images
    "FusedBatchNormV3": 1,
    "FusedBatchNormGradV3": 2,
}


def _keep_batch_norm_off_onednn(graph: tf.compat.v1.GraphDef) -> None:
    """Gives images [a, b, c, d] to fused batch normalization as [a, b, c, d, 1] or [a, b, c, 1, d], for which oneDNN is not used.

    oneDNN's kernels of this op and of its gradient store the number of channels, and the addresses of moments, in fields of the
    kernel (tensorflow/core/kernels/mkl/mkl_fused_batch_norm_op.cc), which concurrent calls share. If clients run in parallel, one
    overwrites the fields that another is about to use. This corrupts memory if the numbers of channels differ, as in Keras' layer
    normalization, whose channels are the examples of a batch; otherwise a client may get the moments of another. For five
    dimensions TensorFlow uses its own kernel, which computes the same as for four.
    """
    for nodes, function in ((graph.node, None), *((f.node_def, f) for f in graph.library.function)):
        renamed: dict[str, str] = {}
        for node in list(nodes):
            if node.op in ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormGrad", "FusedBatchNormGradV2"):
                raise UnsupportedGraph(
                    f"the graph has {node.op}, which may corrupt memory: use tf.compat.v1.nn.fused_batch_norm."
                )
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
    """Rewrites one node so that its name refers to an op with the same outputs. Returns the outputs' new names in a function."""
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
        for reference in _functions_named_in(node):
            reference.name = names.get(reference.name, reference.name)
    for function in graph.library.function:
        function.signature.name = names[function.signature.name]
        context.context().add_function_def(function)
