"""Replaces a graph's stateful random ops by stateless ones that draw from a key, so that equal keys give equal bits.

TFF, Keras and tensorflow-privacy draw dropout masks, rounding and noise with unseeded stateful ops, also inside function
bodies, branches and loops. The key is passed to each of them: every op and every call draws from its own key, which depends on
its position in the graph, and a loop's key changes with each iteration. Calls, branches and loops without state are then declared
stateless: TensorFlow runs stateful ops strictly one after the other, which would keep clients from running in parallel.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

from tensorflow.core.framework import attr_value_pb2, function_pb2, graph_pb2, node_def_pb2, types_pb2
from tensorflow.python.framework import op_def_registry, ops

KEY = "random_key"  # placeholder (or function argument): int64 [2]

_STATELESS = {  # stateful op → stateless twin, and the attribute of its output dtype
    "RandomUniform": ("StatelessRandomUniform", "dtype"),
    "RandomStandardNormal": ("StatelessRandomNormal", "dtype"),
    "TruncatedNormal": ("StatelessTruncatedNormal", "dtype"),
    "RandomUniformInt": ("StatelessRandomUniformInt", "Tout"),
}
CALLS = {"PartitionedCall", "StatefulPartitionedCall"}
_BRANCHES = {"If", "StatelessIf", "Case", "StatelessCase"}
_LOOPS = {"While", "StatelessWhile"}
_WITHOUT_STATE = {
    "StatefulPartitionedCall": "PartitionedCall",
    "If": "StatelessIf",
    "Case": "StatelessCase",
    "While": "StatelessWhile",
}


class UnsupportedRandomOp(Exception):
    """The graph draws random numbers with an op that cannot use a key."""


def make_stateless(graph: graph_pb2.GraphDef) -> bool:
    """Rewrites `graph` in place. Returns True if it draws random numbers; then it has a new placeholder named `KEY`.

    Raises `UnsupportedRandomOp`, which names the op, for an op that has no stateless twin.
    """
    functions = {f.signature.name: f for f in graph.library.function}
    everywhere = [*graph.node, *(node for f in functions.values() for node in f.node_def)]
    taking_key = _functions_that_need_a_key(functions, everywhere)
    if not any(_is_random(node, taking_key) for node in graph.node):
        return False
    loop_bodies = {node.attr["body"].func.name for node in everywhere if node.op in _LOOPS}
    for name in taking_key:
        _rewrite_function(functions[name], taking_key, name in loop_bodies)
    _rewrite_nodes(_Body(graph.node, in_function=False), taking_key)
    placeholder = graph.node.add(name=KEY, op="Placeholder")
    placeholder.attr["dtype"].type = types_pb2.DT_INT64
    placeholder.attr["shape"].shape.dim.add(size=2)
    declare_stateless(graph)
    return True


def declare_stateless(graph: graph_pb2.GraphDef) -> None:
    """Declares stateless each function without state, and each call, branch and loop that uses only such functions."""
    functions = {f.signature.name: f for f in graph.library.function}
    stateless, left = set[str](), dict(functions)
    while found := [name for name, f in left.items() if not any(_has_state(n, stateless, functions) for n in f.node_def)]:
        stateless.update(found)
        left = {name: f for name, f in left.items() if name not in stateless}
    for name in stateless:
        functions[name].signature.is_stateful = False
        del functions[name].signature.control_output[:]
        functions[name].control_ret.clear()
    for node in (*graph.node, *(node for f in functions.values() for node in f.node_def)):
        if node.op in _WITHOUT_STATE and not _has_state(node, stateless, functions):
            node.op = _WITHOUT_STATE[node.op]


def _has_state(node: node_def_pb2.NodeDef, stateless: set[str], functions: Iterable[str]) -> bool:
    """Returns True if a node has its own state, or refers to a function that is not in `stateless`."""
    definition = op_def_registry.get(node.op)
    own = definition is not None and definition.is_stateful and node.op not in _WITHOUT_STATE
    return own or any(name in functions and name not in stateless for name in references(node))


def references(node: node_def_pb2.NodeDef) -> list[str]:
    """Returns the names of the functions that a node refers to."""
    names = [node.op]
    for attr in node.attr.values():
        if attr.HasField("func"):
            names.append(attr.func.name)
        names += [f.name for f in attr.list.func]
    return names


def _is_random(node: node_def_pb2.NodeDef, taking_key: Iterable[str]) -> bool:
    if node.op in _STATELESS:
        return True
    if _draws(node.op):
        raise UnsupportedRandomOp(f"{node.op} (node {node.name})")
    return any(name in taking_key for name in references(node))


@functools.cache
def _draws(op: str) -> bool:
    """Returns True if an op of this name draws from a state: it has a seed attribute, or uses a generator."""
    definition = op_def_registry.get(op)  # None: `op` is a function of the graph
    if definition is None or not definition.is_stateful or op.startswith(("RandomShuffleQueue", "CudnnRNN")):
        return False  # the order of a queue; an RNN without dropout
    from_generator = op.startswith("Stateful") and op != "StatefulPartitionedCall"
    return from_generator or op in ("NonDeterministicInts", "RngReadAndSkip") or any(a.name == "seed" for a in definition.attr)


def _functions_that_need_a_key(functions: dict[str, function_pb2.FunctionDef], everywhere: list) -> set[str]:
    """Returns the functions that draw, call a function that draws, or share a branch or a loop with one."""
    found: set[str] = set()
    while True:
        grown = {name for name, f in functions.items() if any(_is_random(node, found) for node in f.node_def)}
        for node in everywhere:
            referred = set(references(node)) & set(functions)
            if node.op in _BRANCHES | _LOOPS and referred & grown:
                grown |= referred
        if grown <= found:
            return found
        found |= grown


class _Body:
    """The nodes of a graph or of a function; both write the names of outputs differently."""

    def __init__(self, nodes: Any, in_function: bool):
        self.nodes, self._in_function = nodes, in_function
        self._added = 0

    def add(self, op: str, inputs: list[str], output: str, **attrs: attr_value_pb2.AttrValue) -> str:
        """Adds a node and returns the name of its `output`."""
        self._added += 1
        node = self.nodes.add(name=f"{KEY}_{self._added}", op=op, input=inputs)
        for name, value in attrs.items():
            node.attr[name].CopyFrom(value)
        return f"{node.name}:{output}:0" if self._in_function else node.name

    def constant(self, values: list[int], dtype: int) -> str:
        value = attr_value_pb2.AttrValue()
        value.tensor.dtype = dtype
        value.tensor.tensor_shape.dim.add(size=len(values))
        (value.tensor.int64_val if dtype == types_pb2.DT_INT64 else value.tensor.int_val).extend(values)
        return self.add("Const", [], "output", dtype=_type(dtype), value=value)

    def moved(self, key: str, first: int, second: int) -> str:
        """Returns `key + [first, second]`."""
        return self.add("AddV2", [key, self.constant([first, second], types_pb2.DT_INT64)], "z", T=_type(types_pb2.DT_INT64))

    def derived(self, key: str, position: int) -> str:
        """Returns a key that differs from every sum of positions along another path."""
        shape = self.constant([2], types_pb2.DT_INT32)
        types = {"dtype": _type(types_pb2.DT_INT64), "T": _type(types_pb2.DT_INT32), "Tseed": _type(types_pb2.DT_INT64)}
        return self.add("StatelessRandomUniformFullInt", [shape, self.moved(key, position, 1)], "output", **types)


def _type(dtype: int) -> attr_value_pb2.AttrValue:
    return attr_value_pb2.AttrValue(type=dtype)


def _rewrite_function(function: function_pb2.FunctionDef, taking_key: set[str], is_loop_body: bool) -> None:
    function.signature.input_arg.add(name=KEY, type=types_pb2.DT_INT64)
    if "_input_shapes" in function.attr:
        function.attr["_input_shapes"].list.shape.add().dim.add(size=2)
    body = _Body(function.node_def, in_function=True)
    _rewrite_nodes(body, taking_key)
    if is_loop_body:  # the next iteration draws other numbers
        function.signature.output_arg.add(name=f"{KEY}_next", type=types_pb2.DT_INT64)
        function.ret[f"{KEY}_next"] = body.moved(KEY, 0, _spread(0))


def _rewrite_nodes(body: _Body, taking_key: set[str]) -> None:
    for position, node in enumerate(list(body.nodes)):
        if node.op in _STATELESS:
            _rewrite_draw(node, body.moved(KEY, _spread(position), 0))
        elif _is_random(node, taking_key):
            _pass_key(node, body.derived(KEY, _spread(position)), taking_key)


def _spread(position: int) -> int:
    """Returns distinct, far-apart int64 offsets for positions (multiples of the golden ratio modulo 2^64)."""
    value = (position + 1) * 0x9E3779B97F4A7C15 % 2**64
    return value - 2**64 if value >= 2**63 else value


def _insert_input(node: node_def_pb2.NodeDef, index: int | None, name: str) -> None:
    """Inserts a data input at `index`, or after the last data input."""
    inputs = list(node.input)
    at = sum(not i.startswith("^") for i in inputs) if index is None else index
    del node.input[:]
    node.input.extend([*inputs[:at], name, *inputs[at:]])


def _rewrite_draw(node: node_def_pb2.NodeDef, key: str) -> None:
    node.op, dtype = _STATELESS[node.op]
    types = {"dtype": node.attr[dtype].type, "T": node.attr["T"].type, "Tseed": types_pb2.DT_INT64}
    for name in ("seed", "seed2", "Tout"):
        if name in node.attr:
            del node.attr[name]
    for name, value in types.items():
        node.attr[name].type = value
    _insert_input(node, 1, key)


def _pass_key(node: node_def_pb2.NodeDef, key: str, taking_key: set[str]) -> None:
    if node.op not in CALLS | _BRANCHES | _LOOPS and node.op not in taking_key:
        raise UnsupportedRandomOp(f"{node.op} (node {node.name}), which draws inside a function,")
    _insert_input(node, None, key)
    if node.op not in taking_key:  # called through an op that lists its inputs' types
        node.attr["T" if node.op in _LOOPS else "Tin"].list.type.append(types_pb2.DT_INT64)
    if node.op in _LOOPS and node.attr["output_shapes"].list.shape:
        node.attr["output_shapes"].list.shape.add().dim.add(size=2)


def has_gradient(op: str) -> bool:
    """Returns whether TensorFlow knows a gradient of ops of this type."""
    try:
        ops.gradient_registry.lookup(op)
    except LookupError:
        return False
    return True
