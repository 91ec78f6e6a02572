"""Finds the differences between configurations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fedlab.moved import present


def compared(a: Mapping[str, Any], b: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any, Any]]:
    """Returns (dotted key, value in `a`, value in `b`) wherever two nested configurations differ; None for a missing key."""
    rows: list[tuple[str, Any, Any]] = []
    for key in dict.fromkeys([*a, *b]):
        left, right = a.get(key), b.get(key)
        if key == "_target_" and isinstance(left, str) and isinstance(right, str):
            left, right = present(left), present(right)
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            rows += compared(left, right, f"{prefix}{key}.")
        elif left != right:
            rows.append((f"{prefix}{key}", left, right))
    return rows


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flattens a nested configuration to {dotted key: value}; lists stay whole."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            found.update(flat(value, f"{prefix}{key}."))
        else:
            found[f"{prefix}{key}"] = value
    return found
