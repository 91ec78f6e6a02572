"""Finds the differences between configurations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fedlab.moved import present, with_later


def compared(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Returns (dotted key, value in `a`, value in `b`) wherever two nested configurations differ; None for a missing key.

    An option that did not exist yet when one of them was recorded has the value that changes nothing.
    """
    return _compared(with_later(a), with_later(b), "")


def _compared(a: Mapping[str, Any], b: Mapping[str, Any], prefix: str) -> list[tuple[str, Any, Any]]:
    rows: list[tuple[str, Any, Any]] = []
    a, b = ({str(key): value for key, value in side.items()} for side in (a, b))  # a manifest's keys are text, also of numbers
    for key in dict.fromkeys([*a, *b]):
        left, right = a.get(key), b.get(key)
        if key == "_target_" and isinstance(left, str) and isinstance(right, str):
            left, right = present(left), present(right)
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            rows += _compared(left, right, f"{prefix}{key}.")
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
