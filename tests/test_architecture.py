"""Dependencies point one way, fences hold, and every experiment says what it shows."""

import ast
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parent.parent
LEAVES = {"errors", "spec", "randomness", "types", "sampling", "stateless", "cores", "stopping", "trust"}
# Folder → what it may import of fedlab besides itself and the leaves
ALLOWED = {
    "lowering": set(),
    "archive": set(),
    "data": set(),
    "partition": set(),
    "corruption": set(),
    "filter": set(),
    "cohort": set(),
    "models": set(),
    "aggregation": set(),
    "privacy": set(),
    "process": {"models", "privacy"},
    "split": {"process", "models", "lowering"},
    "engine": {"lowering", "secure"},
    "evaluation": {"lowering", "models"},
    "difftest": {"archive", "models", "process"},
    "attacks": {"models", "secure"},
    "report": {"archive"},
    "secure": set(),
    "run": {
        "archive",
        "data",
        "partition",
        "corruption",
        "filter",
        "cohort",
        "models",
        "aggregation",
        "privacy",
        "secure",
        "process",
        "split",
        "engine",
        "evaluation",
        "difftest",
        "attacks",
        "report",
        "lowering",
    },
    "cli": {
        "archive",
        "attacks",
        "data",
        "difftest",
        "evaluation",
        "filter",
        "process",
        "partition",
        "privacy",
        "run",
        "report",
        "secure",
    },
}


def modules():
    return sorted((ROOT / "fedlab").rglob("*.py"))


def stage_of(path: pathlib.Path) -> str:
    return path.relative_to(ROOT / "fedlab").parts[0].removesuffix(".py")


def imports(path: pathlib.Path) -> set[str]:
    """Every module named in an import statement, wherever it stands."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            if node.module == "fedlab":
                found |= {f"fedlab.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_dependencies_point_one_way(path):
    stage = stage_of(path)
    if stage in ("__init__", *LEAVES):
        return
    used = {name.split(".")[1] for name in imports(path) if name.startswith("fedlab.")}
    assert used <= {stage} | LEAVES | ALLOWED[stage]


@pytest.mark.parametrize(
    ("library", "places"),
    [
        ("hydra", {"cli"}),
        ("omegaconf", {"cli"}),
        ("rich", {"cli"}),
        ("optuna", {"cli"}),
        ("tensorflow_federated.python", {"lowering"}),
        ("tensorflow.python", {"lowering", "stateless"}),
        ("tenseal", {"cli", "secure"}),  # fedlab doctor tries it
        ("cryptography", {"secure"}),
        ("dp_accounting", {"privacy"}),
        ("tensorflow_privacy", {"privacy"}),
        ("matplotlib", {"report"}),
        ("PIL", {"report"}),
        ("jinja2", {"report"}),
        ("h5py", {"models"}),
        ("markupsafe", {"report"}),
    ],
)
def test_fences(library, places):
    users = {stage_of(p) for p in modules() if any(name == library or name.startswith(f"{library}.") for name in imports(p))}
    assert users <= places


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_files_are_read_where_nothing_in_them_runs(path):
    assert imports(path).isdisjoint({"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"})
    for call in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)):
        name = ast.unparse(call.func)
        assert name not in ("eval", "exec", "yaml.load", "np.fromfile"), name
        if name.endswith(("load_model", "load_weights", "model_from_json", "saved_model.load")):
            assert path.relative_to(ROOT).as_posix() == "fedlab/models/saved.py"
        if name == "np.load":
            assert "allow_pickle=False" in ast.unparse(call)


def test_only_the_module_for_encryption_knows_tenseal():
    users = {p.name for p in (ROOT / "fedlab" / "secure").glob("*.py") if "tenseal" in imports(p)}
    assert users == {"ckks.py"}


@pytest.mark.parametrize("stage", ["archive", "report"])
def test_runs_are_read_without_what_ran_them(stage):
    heavy = ("tensorflow", "tensorflow_federated", "keras", "hydra")
    used = {name.partition(".")[0] for p in modules() if stage_of(p) == stage for name in imports(p)}
    assert used and used.isdisjoint(heavy)


def test_every_stage_of_the_configuration_is_an_option_of_an_experiment():
    groups = {p.name for p in (ROOT / "conf").iterdir() if p.is_dir()} - {"hydra", "experiment"}
    from fedlab.run.experiment import Experiment

    assert groups <= set(Experiment.model_fields)


@pytest.mark.parametrize("path", sorted((ROOT / "conf" / "experiment").rglob("*.yaml")), ids=lambda p: p.stem)
def test_every_experiment_opens_with_its_command_its_minutes_and_its_figure(path):
    name = path.relative_to(ROOT / "conf" / "experiment").with_suffix("")
    header = re.match(r"(#.*\n)+", path.read_text()).group(0)
    assert header.startswith("# @package _global_\n")
    assert re.search(rf"^#   fedlab (train|investigate) \+experiment={name}$", header, re.MULTILINE)
    assert re.search(r"^# On two cores: .*(second|minute|hour)", header, re.MULTILINE)
    assert re.search(r"^# Expect .*\d", header, re.MULTILINE)
    assert f"`{name}`" in (ROOT / "README.md").read_text()
