"""Dependencies point one way, fences hold, and every experiment says what it shows."""

import ast
import functools
import graphlib
import importlib.util
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parent.parent
# Module of the ground floor → what it may import of fedlab. Every folder may import all of them
GROUND = {
    "arrays": {"errors"},
    "composition": {"digits"},
    "cores": {"errors"},
    "dataset_loops": {"stateless"},
    "digits": set(),
    "draws": {"randomness"},
    "errors": {"stopping"},
    "fingerprint": {"ragged", "types"},
    "graph_fingerprint": set(),
    "measures": set(),
    "moved": set(),
    "ragged": set(),
    "randomness": set(),
    "registry": set(),
    "rewriting": set(),
    "rows": set(),
    "sampling": {"errors"},
    "spec": {"errors"},
    "stateless": set(),
    "stopping": set(),
    "targets": {"errors"},
    "trust": {"errors"},
    "types": {"errors", "measures", "ragged", "tasks"},  # an example set has a task
}
# Folder → what it may import of fedlab besides itself and the ground floor
ALLOWED = {
    "__init__": {"library", "run", "studies"},  # runs before every module: registers the studies, and names what users may call
    "lowering": set(),
    "archive": set(),
    "tasks": set(),
    "data": {"tasks"},
    "partition": set(),
    "corruption": {"tasks"},
    "filter": set(),
    "clock": set(),
    "cohort": set(),
    "models": {"tasks"},
    "aggregation": set(),
    "privacy": set(),
    "algorithms": {"aggregation", "engine", "lowering", "models", "privacy", "secure", "tasks"},
    "engine": {"lowering", "secure"},
    "evaluation": {"archive", "lowering", "models", "tasks"},
    "experiments": {"models", "algorithms"},
    "report": {"archive"},
    "secure": set(),
    "run": {
        "archive",
        "data",
        "partition",
        "corruption",
        "filter",
        "clock",
        "cohort",
        "models",
        "aggregation",
        "privacy",
        "secure",
        "algorithms",
        "tasks",
        "engine",
        "evaluation",
        "lowering",
    },
    "config": {"archive", "console", "run"},
    "console": {"run"},
    "library": {"archive", "config", "models", "report", "run"},
    "studies": {
        "aggregation",
        "algorithms",
        "archive",
        "config",
        "console",
        "corruption",
        "data",
        "evaluation",
        "filter",
        "library",
        "models",
        "partition",
        "report",
        "run",
        "secure",
        "tasks",
    },
    "cli": {
        "archive",
        "config",
        "console",
        "data",
        "evaluation",
        "filter",
        "algorithms",
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


@functools.cache  # more than twenty tests look at every file
def nodes(path: pathlib.Path) -> tuple[ast.AST, ...]:
    """Every node of a file's syntax tree."""
    return tuple(ast.walk(ast.parse(path.read_text())))


@functools.cache
def imports(path: pathlib.Path) -> frozenset[str]:
    """Every module named in an import statement, wherever it stands."""
    found = set()
    for node in nodes(path):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            if node.module == "fedlab":
                found |= {f"fedlab.{alias.name}" for alias in node.names}
    return frozenset(found)


@functools.cache
def arrows(path: pathlib.Path) -> frozenset[str]:
    """Every module or folder of fedlab that a file names, but its own.

    An import counts wherever it stands: at the top, in a function, or for type checkers only. So does a text that is the name
    of a module, or of something in it, such as "fedlab.run.train" or "fedlab.run.train:Train", because somebody imports it later.
    `moved.py` alone may contain such texts: the places of components in recorded configurations, which are data.
    """
    named = set(imports(path))
    if path.name != "moved.py":
        texts = {node.value for node in nodes(path) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
        named |= {text for text in texts if re.fullmatch(r"fedlab[.:]\w+([.:]\w*)*", text)}
    found = {re.split("[.:]", name)[1] for name in named if re.match(r"fedlab[.:]", name)}
    return frozenset(found - {stage_of(path), "__version__"})


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_dependencies_point_one_way(path):
    stage = stage_of(path)
    assert arrows(path) <= (GROUND[stage] if stage in GROUND else {*GROUND, *ALLOWED[stage]})


def test_the_graph_of_folders_has_no_circle():
    graph = {}
    for path in modules():
        graph.setdefault(stage_of(path), set()).update(arrows(path))
    tuple(graphlib.TopologicalSorter(graph).static_order())  # raises `CycleError`, which names the folders of a circle


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_no_module_reaches_others_through_the_package(path):
    """`import fedlab` is for its version and its place, and imports name their module in full: the tests above read these."""
    assert not [node for node in nodes(path) if isinstance(node, ast.ImportFrom) and node.level]
    if any(isinstance(node, ast.Import) and any(alias.name == "fedlab" for alias in node.names) for node in nodes(path)):
        of_package = [
            n for n in nodes(path) if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name) and n.value.id == "fedlab"
        ]
        assert {node.attr for node in of_package} <= {"__version__", "__file__"}


@pytest.mark.parametrize("stage", ["algorithms", "archive", "evaluation", "run"])
def test_what_computes_and_records_a_run_knows_no_report(stage):
    """No import inside a function either, and no name of a module to import later: the caller of a run passes its report."""
    found = []
    for path in (path for path in modules() if stage_of(path) == stage):
        names = {node.value for node in nodes(path) if isinstance(node, ast.Constant)}
        names = {name.partition(":")[0] for name in names if isinstance(name, str)} | imports(path)
        found += [f"{path.relative_to(ROOT)}: {name}" for name in names if f"{name}.".startswith("fedlab.report.")]
    assert found == []


def test_nobody_knows_a_study_by_name():
    """Other folders ask the registry; a study knows no other one. `moved.py` alone says where components are now."""
    studies = ROOT / "fedlab" / "studies"
    found = []
    for path in modules():
        if path == ROOT / "fedlab" / "__init__.py":  # for type checkers, it imports what users may call
            continue
        own = f"fedlab.studies.{path.relative_to(studies).parts[0]}." if studies in path.parents else None
        names = set(imports(path))
        if own is None and path.name != "moved.py":
            names |= {node.value for node in nodes(path) if isinstance(node, ast.Constant)}
        known = {name for name in names if isinstance(name, str) and name.startswith("fedlab.studies.")}
        if path != studies / "__init__.py":
            found += [f"{path.relative_to(ROOT)}: {name}" for name in known if own is None or not f"{name}.".startswith(own)]
    assert found == []


def test_options_of_studies_are_read_without_what_runs_them():
    """The class of an experiment has them as fields, so they stand below it."""
    from fedlab import registry

    for stage in registry.stages():
        path = pathlib.Path(importlib.util.find_spec(stage.base.partition(":")[0]).origin)
        used = {name.split(".")[1] for name in imports(path) if name.startswith("fedlab.")}
        assert used <= {*GROUND}, path


@pytest.mark.parametrize(
    ("library", "places"),
    [
        ("hydra", {"cli", "config", "studies"}),
        ("omegaconf", {"cli", "config", "studies"}),
        ("rich", {"cli", "console", "studies"}),
        ("optuna", {"studies"}),
        ("tensorflow_federated.python", {"lowering"}),
        ("tensorflow.python", {"lowering", "rewriting", "stateless"}),
        ("tenseal", {"cli", "secure"}),  # fedlab doctor tries it
        ("cryptography", {"secure"}),
        ("dp_accounting", {"privacy"}),
        ("tensorflow_privacy", {"privacy"}),
        ("matplotlib", {"report", "studies"}),
        ("PIL", {"archive", "data", "report"}),  # data: decodes a user's images
        ("jinja2", {"report"}),
        ("h5py", {"data", "models"}),
        ("pyarrow", {"data"}),
        ("markupsafe", {"report"}),
    ],
)
def test_fences(library, places):
    users = {stage_of(p) for p in modules() if any(name == library or name.startswith(f"{library}.") for name in imports(p))}
    assert users <= places


def test_tests_are_where_their_subject_is():
    """A folder of tests has the path of a folder or a module of the package, or, as `docs` and `scripts`, of the repository."""
    folders = {path.parent.relative_to(ROOT / "tests") for path in (ROOT / "tests").rglob("test_*.py")} - {pathlib.Path()}
    places = [(ROOT / "fedlab" / path, ROOT / "fedlab" / path.with_suffix(".py"), ROOT / path) for path in folders]
    assert [str(place[2]) for place in places if not any(path.exists() for path in place)] == []


@pytest.mark.parametrize("path", sorted((ROOT / "fedlab" / "cli").glob("*.py")), ids=lambda p: p.stem)
def test_a_verb_parses_calls_and_prints(path):
    """Apart from its parser, the module of a verb has at most 65 lines. Computing is in lower folders."""
    functions = {node.name: node for node in nodes(path) if isinstance(node, ast.FunctionDef)}
    if {"parser", "main"} <= set(functions):
        parser = functions["parser"]
        assert len(path.read_text().splitlines()) - (parser.end_lineno - parser.lineno + 1) <= 65


def test_only_the_command_line_prints_and_reads_its_arguments():
    """Everything else passes its lines to a function of its caller. A signal handler prints, and Hydra gets its words as argv."""
    found = []
    for path in modules():
        verb = stage_of(path) == "studies" and path.stem.endswith(("verb", "table"))
        if verb or stage_of(path) in ("cli", "console", "stopping") or path.name == "application.py":
            continue
        for node in nodes(path):
            prints = isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "sys.stdout.write", "sys.stderr.write")
            if prints or (isinstance(node, ast.Attribute) and ast.unparse(node) == "sys.argv"):
                found.append(f"{path.relative_to(ROOT)}, line {node.lineno}")
    assert found == []


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_files_are_read_where_nothing_in_them_runs(path):
    assert imports(path).isdisjoint({"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"})
    for call in (node for node in nodes(path) if isinstance(node, ast.Call)):
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
    from fedlab.registry import own_folders
    from fedlab.run.experiment import Experiment

    groups = {p.name for p in (ROOT / "conf").iterdir() if p.is_dir()} - {"hydra", "experiment", *own_folders()}

    assert groups <= set(Experiment.model_fields)


def test_an_experiment_is_fields_only():
    """Rules and properties of experiments are functions beside it."""
    [described, *fields] = next(
        n for n in nodes(ROOT / "fedlab/run/experiment.py") if getattr(n, "name", "") == "Experiment"
    ).body
    assert isinstance(described, ast.Expr) and fields and all(isinstance(field, ast.AnnAssign) for field in fields)


@pytest.mark.parametrize("path", sorted((ROOT / "conf" / "experiment").rglob("*.yaml")), ids=lambda p: p.stem)
def test_every_experiment_opens_with_its_command_its_minutes_and_its_figure(path):
    name = path.relative_to(ROOT / "conf" / "experiment").with_suffix("")
    header = re.match(r"(#.*\n)+", path.read_text()).group(0)
    assert header.startswith("# @package _global_\n")
    assert re.search(rf"^#   fedlab (train|investigate) \+experiment={name}$", header, re.MULTILINE)
    assert re.search(r"^# On two cores: .*(second|minute|hour)", header, re.MULTILINE)
    assert re.search(r"^# Expect .*\d", header, re.MULTILINE)
    assert f"`{name}`" in (ROOT / "README.md").read_text()


def test_timeouts_of_tests_only_catch_what_hangs():
    """A loaded machine takes many times as long as a quiet one: whatever waits for a process waits for half an hour at least."""
    found = []
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in nodes(path):
            constant = isinstance(node, ast.keyword) and node.arg == "timeout" and isinstance(node.value, ast.Constant)
            bounds_seconds = isinstance(node, ast.Attribute) and node.attr == "process_time"
            if bounds_seconds or (constant and node.value.value < 1800):
                found.append(f"{path.relative_to(ROOT)}, line {node.lineno}")
    assert found == []
