"""Earlier versions: maps their component paths, as runs and configuration files name them, to the present paths, and lists the
options that they did not have."""

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

# Options that came later, at the values that change nothing: component → option → value
LATER: Mapping[str, Mapping[str, Any]] = {
    "fedlab.algorithms.FedAvg": {"keep_optimizer": False},
    "fedlab.models.Perceptron": {"mean": 0.0, "std": 1.0},
    "fedlab.models.Mlp": {"mean": 0.0, "std": 1.0, "normalization": "none"},
    "fedlab.models.Cnn": {"mean": 0.0, "std": 1.0},
    "fedlab.data.Emnist": {"path": None},
    "fedlab.data.Npz": {"task": "classification", "loss": "mse", "scale_target": True},
    "fedlab.data.Table": {"separator": None},
    **{
        f"fedlab.partition.{name}": {"seed": None, "unseen_clients": 0}
        for name in ("ByUser", "Iid", "Quantity", "Shards", "Single")
    },
    "fedlab.partition.Dirichlet": {"seed": None, "unseen_clients": 0, "by": None, "bins": 10},
    "fedlab.partition.Pathological": {"unseen_clients": 0},
    **{f"fedlab.corruption.{name}": {"held_out": True} for name in ("Blur", "Function", "Inversion", "LabelFlip", "Occlusion")},
    "fedlab.studies.difftest.options.Difftest": {"data": "clients"},
    "fedlab.studies.sweep.objective.Objective": {"target": None, "cost": "rounds"},
    "fedlab.studies.attacks.model_inversion.ModelInversion": {
        **dict.fromkeys(("target_class", "loss_every", "server_iterations", "server_learning_rate"), None),
        **dict.fromkeys(("server_tv_weight", "server_l2_weight"), None),
        "control": False,
        "class_means": True,
    },
    "fedlab.evaluation.Evaluation": {"client_every": None, "metrics": []},
}

# Stages that came later, as they change nothing
LATER_STAGES: Mapping[str, Mapping[str, Any]] = {
    "init": {"_target_": "fedlab.evaluation.initial.Initial", "from": None, "layers": None, "freeze": []},
    "keep": {"_target_": "fedlab.run.best_round.Keep", "best": None},
    "clock": {"_target_": "fedlab.clock.NoClock"},
    "loss": {"_target_": "fedlab.tasks.TaskLoss", "label_smoothing": 0.0, "class_weights": None},
}
_OF_A_RUN = "num_rounds"  # every configuration of a whole run has this option


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


def with_later(config: Any) -> Any:
    """Returns a copy of a nested configuration in which no component lacks its options of `LATER`, and no run its stages
    of `LATER_STAGES`."""
    if not isinstance(config, Mapping):
        return config
    stages = {k: v for k, v in LATER_STAGES.items() if _OF_A_RUN in config and k not in config}
    found = {**{k: with_later(v) for k, v in config.items()}, **stages}
    return {**found, **{k: v for k, v in _later(config).items() if k not in config}}


def without_later(config: Any) -> Any:
    """Returns a copy of a nested configuration without the options of `LATER` that have the values there."""
    if not isinstance(config, Mapping):
        return config
    later = _later(config)
    return {k: without_later(v) for k, v in config.items() if k not in later or v != later[k]}


def changes_nothing(stage: str, options: Any) -> bool:
    """Returns True for a stage that came later and has the options of `LATER_STAGES`."""
    return stage in LATER_STAGES and options == LATER_STAGES[stage]


def _later(component: Mapping[str, Any]) -> Mapping[str, Any]:
    target = component.get("_target_")
    return LATER.get(present(target), {}) if isinstance(target, str) else {}
