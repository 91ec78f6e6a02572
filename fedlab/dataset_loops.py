"""Replaces `dataset.reduce` in the work of a client by a loop, where the data set is `tf.data.Dataset.range(n).map(element)`.

TensorFlow starts a data set anew for each client, which takes some 30 ms, and computes it on the CPU. A loop is part of the graph
like any other op. A data set that is used otherwise, such as by `take`, or outside of a tf.function, stays as it is.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import tensorflow as tf
from tensorflow.core.framework import attr_value_pb2, function_pb2, graph_pb2, node_def_pb2, types_pb2

from fedlab.stateless import CALLS, declare_stateless, references

_REDUCE, _INT64 = "ReduceDataset", types_pb2.DT_INT64
_Functions = Mapping[str, function_pb2.FunctionDef]


@dataclasses.dataclass(frozen=True)
class _Source:
    """The data set `range(count).map(element)`. A function receives it as tensors: `count`, and those that `element` captures."""

    inputs: list[str]  # `count` int64, then the captured tensors
    types: list[int]  # of `inputs`
    element: str  # the function (index int64, *captured) → tensors of an element


def replace_reduce(graph: graph_pb2.GraphDef) -> None:
    """Replaces, in place, each `dataset.reduce` of the data sets described above that a function of `graph` computes."""
    functions = {f.signature.name: f for f in graph.library.function}
    nodes = {node.name: node for node in graph.node}
    bodies = [graph.node, *(f.node_def for f in functions.values())]
    used = collections.Counter(name for body in bodies for node in body for name in references(node))
    found = False
    for node in graph.node:
        for name in node.input if node.op in CALLS else ():
            source = _source(nodes, name)
            if source and _only_reduced(node, list(node.input).index(name), functions, used):
                _open(node, list(node.input).index(name), source, graph, functions)
                found = True
    if found:
        declare_stateless(graph)


def _source(nodes: Mapping[str, node_def_pb2.NodeDef], name: str) -> _Source | None:
    """Returns the data set that the tensor `name` is; None for any other tensor or data set."""
    node = nodes.get(name.removesuffix(":0"))
    while node is not None and node.op in ("Identity", "OptionsDataset"):
        node = nodes.get(node.input[0].removesuffix(":0"))
    if node is None or node.op != "MapDataset":
        return None
    counted = nodes[node.input[0].removesuffix(":0")]
    if counted.op != "RangeDataset" or [_constant(nodes, counted.input[i]) for i in (0, 2)] != [0, 1]:
        return None
    return _Source([counted.input[1], *node.input[1:]], [_INT64, *node.attr["Targuments"].list.type], node.attr["f"].func.name)


def _constant(nodes: Mapping[str, node_def_pb2.NodeDef], name: str) -> int | None:
    node = nodes[name.removesuffix(":0")]
    return int(tf.make_ndarray(node.attr["value"].tensor)) if node.op == "Const" else None


def _only_reduced(call: node_def_pb2.NodeDef, position: int, functions: _Functions, used: Mapping[str, int]) -> bool:
    """Returns True if the called function passes its argument at `position` to `dataset.reduce`, and nothing else."""
    name = call.attr["f"].func.name
    if used[name] != 1 or name not in functions:
        return False
    function = functions[name]
    argument = function.signature.input_arg[position].name
    for node in function.node_def:
        for i, given in enumerate(node.input):
            if given == argument and not (
                (node.op == _REDUCE and i == 0) or (node.op in CALLS and _only_reduced(node, i, functions, used))
            ):
                return False
    return argument not in function.ret.values()


def _open(call: node_def_pb2.NodeDef, position: int, source: _Source, graph: graph_pb2.GraphDef, functions: _Functions) -> None:
    """Passes the tensors of `source` to the called function instead of the data set at `position`."""
    function = functions[call.attr["f"].func.name]
    argument = function.signature.input_arg[position].name
    inputs, types = list(call.input), call.attr["Tin"].list.type
    at = sum(not name.startswith("^") for name in inputs)
    del call.input[:], types[position], function.signature.input_arg[position]
    call.input.extend(inputs[:position] + inputs[position + 1 : at] + source.inputs + inputs[at:])
    types.extend(source.types)
    names = [f"{argument}_source_{i}" for i in range(len(source.types))]
    for name, kind in zip(names, source.types):
        function.signature.input_arg.add(name=name, type=kind)
    function.arg_attr.clear()  # by position
    function.attr.pop("_input_shapes", None)
    inner = dataclasses.replace(source, inputs=names)
    for node in list(function.node_def):
        if argument in node.input and node.op == _REDUCE:
            _loop(node, function, inner, graph, functions)
        elif argument in node.input:
            _open(node, list(node.input).index(argument), inner, graph, functions)


def _loop(
    node: node_def_pb2.NodeDef,
    function: function_pb2.FunctionDef,
    source: _Source,
    graph: graph_pb2.GraphDef,
    functions: _Functions,
) -> None:
    """Turns the node of a `dataset.reduce` in `function` into a loop over (index, count, *state, *captured, *other arguments)."""
    state, others = (list(node.attr[name].list.type) for name in ("Tstate", "Targuments"))
    step, shapes = node.attr["f"].func.name, node.attr["output_shapes"].list.shape
    types = [_INT64, source.types[0], *state, *source.types[1:], *others]
    given = [name for name in node.input if not name.startswith("^")]
    control = [name for name in node.input if name.startswith("^")]
    first = function.node_def.add(name=f"{node.name}_first", op="Const")
    first.attr["dtype"].type = _INT64
    first.attr["value"].tensor.CopyFrom(_scalar(0))
    end = 1 + len(state)
    inputs = [f"{first.name}:output:0", source.inputs[0], *given[1:end], *source.inputs[1:], *given[end:], *control]

    arguments = [f"argument_{i}" for i in range(len(types))]
    going = _function(graph, f"going_{function.signature.name}_{node.name}", arguments, types)
    _node(going, "less", "Less", arguments[:2], T=_type(_INT64))
    _returns(going, ["less:z:0"], [types_pb2.DT_BOOL])

    body = _function(graph, f"body_{function.signature.name}_{node.name}", arguments, types)
    index, rest = arguments[0], arguments[2 + len(state) :]
    captured, other = rest[: len(source.types) - 1], rest[len(source.types) - 1 :]
    element = _call(body, "element", functions[source.element], [index, *captured])
    stepped = _call(body, "step", functions[step], [*arguments[2 : 2 + len(state)], *element, *other])
    one = _node(body, "one", "Const", [], dtype=_type(_INT64), value=attr_value_pb2.AttrValue(tensor=_scalar(1)))
    _node(body, "next", "AddV2", [index, f"{one}:output:0"], T=_type(_INT64))
    _returns(body, ["next:z:0", arguments[1], *stepped, *rest], types)

    node.op = "While"
    node.attr.clear()
    del node.input[:]
    node.input.extend(inputs)
    node.attr["T"].list.type.extend(types)
    node.attr["cond"].func.name, node.attr["body"].func.name = going.signature.name, body.signature.name
    node.attr["parallel_iterations"].i = 1
    for i in range(len(types)):
        shape = node.attr["output_shapes"].list.shape.add()
        shape.unknown_rank = True
        if 2 <= i < 2 + len(state):
            shape.CopyFrom(shapes[i - 2])
    old = {f"{node.name}:components:{k}": f"{node.name}:output:{2 + k}" for k in range(len(state))}
    for user in function.node_def:
        user.input[:] = [old.get(name, name) for name in user.input]
    for result, name in list(function.ret.items()):
        function.ret[result] = old.get(name, name)


def _scalar(value: int) -> Any:
    return tf.make_tensor_proto(value, tf.int64)


def _type(kind: int) -> attr_value_pb2.AttrValue:
    return attr_value_pb2.AttrValue(type=kind)


def _types(kinds: Iterable[int]) -> attr_value_pb2.AttrValue:
    return attr_value_pb2.AttrValue(list=attr_value_pb2.AttrValue.ListValue(type=kinds))


def _function(graph: graph_pb2.GraphDef, name: str, arguments: Sequence[str], types: Sequence[int]) -> Any:
    function = graph.library.function.add()
    function.signature.name = name
    for argument, kind in zip(arguments, types):
        function.signature.input_arg.add(name=argument, type=kind)
    return function


def _node(function: Any, name: str, op: str, inputs: Sequence[str], **attrs: attr_value_pb2.AttrValue) -> str:
    node = function.node_def.add(name=name, op=op, input=inputs)
    for key, value in attrs.items():
        node.attr[key].CopyFrom(value)
    return name


def _call(function: Any, name: str, called: function_pb2.FunctionDef, inputs: Sequence[str]) -> list[str]:
    """Adds a call, and returns the names of its outputs."""
    taken, returned = ([arg.type for arg in args] for args in (called.signature.input_arg, called.signature.output_arg))
    op = "StatefulPartitionedCall" if called.signature.is_stateful else "PartitionedCall"
    _node(function, name, op, inputs, Tin=_types(taken), Tout=_types(returned))
    function.node_def[-1].attr["f"].func.name = called.signature.name
    return [f"{name}:output:{i}" for i in range(len(returned))]


def _returns(function: Any, names: Sequence[str], types: Sequence[int]) -> None:
    for i, (name, kind) in enumerate(zip(names, types)):
        function.signature.output_arg.add(name=f"result_{i}", type=kind)
        function.ret[f"result_{i}"] = name
    function.signature.is_stateful = True  # until `declare_stateless` finds that nothing in it is
