"""The configurations of a run's arms: the run's configuration, each with the arm's own overrides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fedlab.moved import with_present_names


def arm_configs(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Returns the whole configuration of each arm in `config` (a run's, as plain values); {} if it has no arms."""
    config = with_present_names(config)
    base = {key: value for key, value in config.items() if key != "arms"}
    return {str(name): _overridden(base, overrides or {}) for name, overrides in (config.get("arms") or {}).items()}


def _overridden(base: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Returns `base` with `overrides`, key by key. A node with another `_target_` replaces the node of `base`."""
    result = dict(base)
    for key, value in overrides.items():
        old = result.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping) and value.get("_target_") in (None, old.get("_target_")):
            value = _overridden(old, value)
        result[key] = value
    return result
