"""Quotes values that Hydra's grammar would not accept unquoted, so that users need no quotes within quotes."""

from __future__ import annotations

import re
from collections.abc import Sequence

_FIGURE = re.compile(r"(?<!['\"\w/-])(?:[\w-]+/)?(?:rounds|bytes|seconds)_to\[[^\[\]]*\](?!['\"])")
_CHOICE = re.compile(r"choice\((.*)\)")
_PLAIN = re.compile(r"|null|['\"].*|[^<>=]*")  # values without a comparison, or in quotes
# Values that Hydra's grammar accepts: its characters, those after a backslash, and interpolations. Brackets are left alone, so
# that a mistake in a list stays one
_LEFT_ALONE = re.compile(r"(?:[\w\s/\\+.$%*@?|:-]|\\.|\$\{[^{}]*\})*|[\x00-\x7f]*[][{}][\x00-\x7f]*", re.ASCII)
_AS_IS = re.compile(r"['\"\[{].*|\w+\(.*\)", re.DOTALL)  # quoted values, lists, dicts and functions such as choice(a,b)


def quoted(words: Sequence[str]) -> list[str]:
    """Returns the words of a command line, with quotes where fedlab's own notation contains Hydra's special characters.

    objective.metric=rounds_to[0.97] becomes objective.metric='rounds_to[0.97]', also within a list, and so do bytes_to[0.97] and
    seconds_to[0.97]. The same is done to stop.when=test_accuracy>=0.97. A value with a character that the grammar refuses, such
    as a path with "=", "(" or a letter outside ASCII, is quoted, too, and in a sweep each of its values. Other words, and values
    that are quoted already, stay unchanged.
    """
    return [_quoted(word) for word in words]


def _quoted(word: str) -> str:
    key, equals, value = word.partition("=")
    if key.lstrip("+") == "objective.metric":
        return key + equals + _FIGURE.sub(lambda found: f"'{found[0]}'", value)
    if key.lstrip("+") == "stop.when":
        chosen = _CHOICE.fullmatch(value)
        parts = [part if _PLAIN.fullmatch(part) else f"'{part}'" for part in (chosen[1] if chosen else value).split(",")]
        # Hydra's choice(…) accepts no null, and the same list without it does
        return key + equals + (f"choice({parts[0]})" if chosen and len(parts) == 1 else ",".join(parts))
    if key == "resume" or _AS_IS.fullmatch(value):
        return word
    each = (part if _LEFT_ALONE.fullmatch(part) or _AS_IS.fullmatch(part) else _in_quotes(part) for part in value.split(","))
    return key + equals + ",".join(each)


def _in_quotes(text: str) -> str:
    """Returns `text` in quotes; the grammar takes a backslash as one unless it stands before a quote."""
    return "'" + re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), text) + "'"
