"""Where configurations differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def compared(a: Mapping[str, Any], b: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any, Any]]:
    """(dotted key, value in `a`, value in `b`) wherever two nested configurations differ; None where one has no such key."""
    rows: list[tuple[str, Any, Any]] = []
    for key in dict.fromkeys([*a, *b]):
        left, right = a.get(key), b.get(key)
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            rows += compared(left, right, f"{prefix}{key}.")
        elif left != right:
            rows.append((f"{prefix}{key}", left, right))
    return rows


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{dotted key: value} of a nested configuration; lists stay whole."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            found.update(flat(value, f"{prefix}{key}."))
        else:
            found[f"{prefix}{key}"] = value
    return found
