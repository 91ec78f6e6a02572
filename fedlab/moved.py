"""Maps component paths of earlier versions, as runs and configuration files name them, to the present paths."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MODULES = {
    "fedlab.process": "fedlab.algorithms",
    "fedlab.process.optimizers": "fedlab.algorithms.optimizers",
    "fedlab.split": "fedlab.algorithms",
    "fedlab.run.investigation": "fedlab.studies.investigate.options",
    "fedlab.run.objective": "fedlab.studies.sweep.objective",
    "fedlab.difftest": "fedlab.studies.difftest.options",
    "fedlab.difftest.defects": "fedlab.experiments.defects",
    "fedlab.attacks": "fedlab.studies.attacks.options",
}
COMPONENTS = {"fedlab.attacks.ModelInversion": "fedlab.studies.attacks.model_inversion.ModelInversion"}


def present(path: str) -> str:
    """Returns the present dotted path of a component of an earlier or of this version."""
    if path in COMPONENTS:
        return COMPONENTS[path]
    module, _, name = path.rpartition(".")
    return f"{MODULES[module]}.{name}" if module in MODULES else path


def with_present_names(config: Any) -> Any:
    """Returns a copy of a nested configuration in which each `_target_` is the present path."""
    if isinstance(config, Mapping):
        return {k: present(v) if k == "_target_" and isinstance(v, str) else with_present_names(v) for k, v in config.items()}
    return [with_present_names(item) for item in config] if isinstance(config, list) else config
