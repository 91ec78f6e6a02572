"""The configurations of a run's arms: that of the run, each with its own overrides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def arm_configs(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The whole configuration of each arm in `config`, a run's as plain values; {} where it has none."""
    base = {key: value for key, value in config.items() if key != "arms"}
    return {str(name): _overridden(base, overrides or {}) for name, overrides in (config.get("arms") or {}).items()}


def _overridden(base: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `overrides`, key by key. A node that builds something else than `base`'s (`_target_`) takes its place."""
    result = dict(base)
    for key, value in overrides.items():
        old = result.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping) and value.get("_target_") in (None, old.get("_target_")):
            value = _overridden(old, value)
        result[key] = value
    return result
