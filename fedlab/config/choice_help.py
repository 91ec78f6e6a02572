"""The help of a choice, as `fedlab train partition=dirichlet --help` prints it. Imports neither Hydra nor TensorFlow."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import itertools
import math
import pathlib
import re
import textwrap
import types
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml

from fedlab.config import choices, explain
from fedlab.digits import setting
from fedlab.errors import ConfigError
from fedlab.moved import present

_WIDTH = 100
_NAMES: dict[Any, str] = {int: "whole number", float: "number", str: "text", bool: "true or false", Any: "any value"}
_LIMITS = {"gt": "greater than", "ge": "at least", "lt": "less than", "le": "at most"}
_FLAGS = ("-cd", "--config-dir")


def asked(argv: Sequence[str]) -> str | None:
    """Returns the help page of the choices in `argv`; None if `argv` has no choice or no --help.

    Raises `ConfigError` for a choice that does not exist.
    """
    if not {"-h", "--help"} & set(argv):
        return None
    own = next((value for flag, value in itertools.pairwise(argv) if flag in _FLAGS), None)
    own = next((word.partition("=")[2] for word in argv if word.startswith("--config-dir=")), own)
    found = choices.folders(own)
    catalogue = explain.Catalogue(found, dict)
    groups = {*catalogue.groups()} - {*explain.ADDED_GROUPS, "hydra"}
    chosen = [(group, name) for word in argv for group, name in _chosen(word) if group in groups]
    if not chosen:
        return None
    foot = f"fedlab train --help lists all groups and their choices; fedlab train {chosen[0][0]}={chosen[0][1]} --cfg job prints"
    sections = [_section(group, name, found, catalogue) for group, name in dict.fromkeys(chosen)]
    return "\n\n\n".join(sections) + f"\n\n{foot}\nthe whole configuration."


def _chosen(word: str) -> Iterator[tuple[str, str]]:
    """Yields the (group, choice) pairs of one word: data=mnist, logger=[tensorboard,mlflow], +model@arms.a.model=mlp."""
    key, equals, values = word.partition("=")
    group = key.lstrip("+/").partition("@")[0]
    if equals and not word.startswith("-"):
        yield from ((group, value.strip()) for value in values.strip("[]").split(",") if value.strip() not in ("", "null"))


def _section(group: str, name: str, found: Sequence[pathlib.Path], catalogue: explain.Catalogue) -> str:
    path = choices.find(f"{group}/{name}", found)
    if path is None:
        raise ConfigError(explain.no_such_choice(f"{group}/{name}", [], catalogue))
    comments = choices.comments(path)
    try:
        nodes = choices.nodes(group, path)
    except yaml.YAMLError as error:
        raise ConfigError(explain.not_yaml(error, path)) from error
    lines = [f"{group}={name}" + (f": {comments.heading}" if comments.heading else "")]
    if not nodes:
        lines += ["", f"Its options are those of other files, on which it is based: {path} names them."]
    for key, node in nodes.items():
        target = _target(node["_target_"], group)
        described = inspect.cleandoc(getattr(target, "__doc__", None) or "")
        lines += ["", node["_target_"], *(["", *_paragraphs(described)] if described else []), ""]
        options = {option: value for option, value in node.items() if option != "_target_"}
        if not options:
            lines.append("It has no options.")
            continue
        lines += [f"Options (set with {key}.OPTION=VALUE):", ""]
        width = max(map(len, options)) + 2
        types_ = _types(target)
        for option, value in options.items():
            default = "must be given" if value == "???" else f"default {setting(value)}"
            lines.append(f"  {option:<{width}}" + "; ".join(filter(None, (types_.get(option), default))))
            indent = " " * (width + 2)
            comment = comments.options.get(option)
            lines += textwrap.wrap(comment, _WIDTH, initial_indent=indent, subsequent_indent=indent) if comment else []
    return "\n".join(lines)


def _paragraphs(text: str) -> list[str]:
    """Returns the lines of a docstring, with each paragraph wrapped again."""
    filled = ["\n".join(textwrap.wrap(paragraph, _WIDTH, break_on_hyphens=False)) for paragraph in re.split(r"\n\s*\n", text)]
    return "\n\n".join(filled).splitlines()


def _target(path: str, stage: str) -> Any:
    """Returns the class or function at a dotted path. Raises `ConfigError`."""
    module, _, name = present(path).rpartition(".")
    if module.startswith("fedlab."):
        with contextlib.suppress(ImportError, AttributeError):  # `locate` below reports it
            return getattr(importlib.import_module(module), name)
    from fedlab.config.composing import locate

    return locate(path, stage)


def _types(target: Any) -> dict[str, str]:
    """Returns the type and range of each option of a class of options or of a user's function."""
    if hasattr(target, "model_fields"):
        return {name: kind(field.annotation, field.metadata) for name, field in target.model_fields.items()}
    try:
        parameters = inspect.signature(target, eval_str=True).parameters
    except (NameError, TypeError, ValueError):
        return {}
    return {n: kind(p.annotation) for n, p in parameters.items() if p.annotation is not inspect.Parameter.empty}


def kind(annotation: Any, metadata: Iterable[Any] = ()) -> str:
    """Returns a type and its range in words: "whole number, greater than 0, or null"."""
    arguments, origin = get_args(annotation), get_origin(annotation)
    if origin is Annotated:
        return kind(arguments[0], [*arguments[1:], *metadata])
    if origin in (Union, types.UnionType):
        words = [kind(argument) for argument in arguments if argument is not types.NoneType]
        return _limited(_either([*words, *(["null"] if types.NoneType in arguments else [])]), metadata)
    if origin is Literal:
        return _either(list(map(setting, arguments)))
    if origin in (tuple, list) or (inspect.isclass(origin) and issubclass(origin, Sequence)):
        return _limited(f"list, each item a {kind(arguments[0]).replace(',', '')}" if arguments else "list", metadata)
    name = _NAMES.get(annotation) or getattr(origin or annotation, "__name__", str(annotation)).lower()
    return _limited(name, metadata)


def _either(words: Sequence[str]) -> str:
    """Joins words as "a, b or c"; with ", or" if a word contains a comma."""
    last = ", or " if any("," in word for word in words) else " or "
    return last.join(filter(None, (", ".join(words[:-1]), words[-1])))


def _number(value: float) -> str:
    """Formats a limit; powers of two above 4096 as 2^N."""
    return f"2^{int(value).bit_length() - 1}" if value > 4096 and 2.0 ** round(math.log2(value)) == value else f"{value:g}"


def _limited(name: str, metadata: Iterable[Any]) -> str:
    """Appends the limits in `metadata`, also those inside a pydantic `Field`, to `name`."""
    found = [inner for item in metadata for inner in getattr(item, "metadata", (item,))]
    limits = [(word, getattr(item, key, None)) for item in found for key, word in _LIMITS.items()]
    words = " and ".join(f"{word} {_number(value)}" for word, value in limits if value is not None)
    fewest = [
        f"at least {value:,} item{'s' * (value > 1)}"
        for item in found
        if (value := getattr(item, "min_length", None)) is not None
    ]
    return ", ".join(filter(None, [name, words, *fewest]))
