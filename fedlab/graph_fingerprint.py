"""Fingerprints of computations that do not depend on the names of the functions in their graphs.

TensorFlow numbers the functions that it traces, so the same computation has other names in its graphs each time it is built in a
process. Here each reference to a function is replaced by a hash of its content, which includes the functions that it calls.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

from tensorflow.core.framework import function_pb2, graph_pb2, node_def_pb2


def computation_fingerprint(proto: Any) -> str:
    """Returns a hash of a TFF computation, given as a protocol buffer. Names of functions do not change it."""
    own = type(proto)()
    own.CopyFrom(proto)
    graphs = [_canonical(graph_pb2.GraphDef.FromString(part.graph_def.value)) for part in _graphs_in(own)]
    for part in _graphs_in(own):
        part.ClearField("graph_def")
        part.ClearField("cache_key")
    return _hashed([own.SerializeToString(deterministic=True), *graphs])


def _graphs_in(message: Any) -> Iterator[Any]:
    """Yields the parts of a computation that are TensorFlow graphs."""
    if message.DESCRIPTOR.name == "TensorFlow":
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in value if field.label == field.LABEL_REPEATED else [value]:
                yield from _graphs_in(part)


def _canonical(graph: graph_pb2.GraphDef) -> bytes:
    """Returns the bytes of a graph, which it modifies, and of its functions, in an order that does not depend on their names."""
    functions = {f.signature.name: f for f in graph.library.function}
    known: dict[str, str] = {}
    hashes = sorted(_function_hash(name, functions, known) for name in functions)
    gradients = sorted(
        _hashed(known.get(name, name).encode() for name in (g.function_name, g.gradient_func)) for g in graph.library.gradient
    )
    _replace_names(graph.node, functions, known)
    graph.ClearField("library")
    return _hashed([graph.SerializeToString(deterministic=True), *map(str.encode, (*hashes, "", *gradients))]).encode()


def _function_hash(name: str, functions: dict[str, function_pb2.FunctionDef], known: dict[str, str]) -> str:
    """Returns a hash of a function's content; `known`: the hashes so far, to which it is added."""
    if name not in known:
        known[name] = ""  # TensorFlow's functions do not call themselves
        own = function_pb2.FunctionDef()
        own.CopyFrom(functions[name])
        own.signature.name = ""
        for argument in own.signature.input_arg:  # a loop's condition names the values that it does not read after itself
            argument.name = argument.name.removeprefix(f"{name}_")
        for value in own.attr.values():  # the names of a function's forward and backward twins
            if value.s.decode(errors="replace") in functions:
                value.s = b""
        _replace_names(own.node_def, functions, known)
        known[name] = _hashed([own.SerializeToString(deterministic=True)])
    return known[name]


def _replace_names(
    nodes: Iterable[node_def_pb2.NodeDef], functions: dict[str, function_pb2.FunctionDef], known: dict[str, str]
) -> None:
    """Replaces each reference of `nodes` to a function by the hash of its content."""
    for node in nodes:
        if node.op in functions:
            node.op = _function_hash(node.op, functions, known)
        for value in node.attr.values():
            for called in [*([value.func] if value.HasField("func") else []), *value.list.func]:
                if called.name in functions:
                    called.name = _function_hash(called.name, functions, known)


def _hashed(parts: Iterable[bytes]) -> str:
    """Returns a hash of `parts`, each with its length."""
    found = hashlib.sha256()
    for part in parts:
        found.update(len(part).to_bytes(8, "big"))
        found.update(part)
    return found.hexdigest()
