"""The registry of studies: every reference resolves, and reading it imports nothing slow."""

from __future__ import annotations

import dataclasses
import pathlib
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from fedlab.cli.verbs import ACTIONS, VERBS
from fedlab.registry import Verb, resolved, stages, studies, templates, verbs
from fedlab.run.experiment import Experiment

ROOT = pathlib.Path(__file__).parent.parent.parent
REFERENCES = (
    *("main", "base", "default", "build", "pictures", "line", "line_of_arms", "runs_in", "page", "train"),
    *("batches", "batch_result"),
)


def references(node: Any, name: str = "") -> Iterator[str]:
    """The references in a registration, wherever they stand."""
    if isinstance(node, Verb):
        yield from (node.main, node.parser, *([node.completions] if node.completions else []))
    elif dataclasses.is_dataclass(node):
        is_hooks = type(node).__name__ == "Hooks"
        for field in dataclasses.fields(node):
            yield from references(getattr(node, field.name), "main" if is_hooks else field.name)
    elif isinstance(node, tuple):
        for item in node:
            yield from references(item, name)
    elif isinstance(node, Mapping) and name == "functions":
        yield from node.values()
    elif isinstance(node, str) and node and name in REFERENCES:
        yield node


@pytest.mark.parametrize("study", studies(), ids=lambda study: study.name)
def test_each_reference_is_a_function_or_a_class_of_the_study(study):
    found = list(references(study))
    assert found
    for reference in found:
        assert reference.startswith(f"fedlab.studies.{study.name}.") and callable(resolved(reference)), reference


def test_each_folder_is_a_study_and_names_are_there_once():
    folders = {path.name for path in (ROOT / "fedlab" / "studies").iterdir() if (path / "__init__.py").is_file()}
    assert sorted(study.name for study in studies()) == sorted(folders)
    names = [verb.name for verb in verbs()] + [stage.name for stage in stages()]
    assert len({*VERBS, *ACTIONS} & set(names)) == len(verbs())
    assert len(set(verb.name for verb in verbs())) == len(verbs()) and len({stage.name for stage in stages()}) == len(stages())


@pytest.mark.parametrize("stage", stages(), ids=lambda stage: stage.name)
def test_each_stage_is_a_field_of_an_experiment_and_a_group_of_the_configuration(stage):
    default = resolved(stage.default)()
    assert isinstance(default, resolved(stage.base)) and Experiment.model_fields[stage.name].default == default
    assert (ROOT / "conf" / stage.name).is_dir()


def test_each_template_is_in_a_folder_that_pages_look_into():
    for study in studies():
        found = {path.parent for path in (ROOT / "fedlab" / "studies" / study.name).rglob("*.html")}
        assert found <= {templates()[study.name]}


def test_each_file_that_a_study_leaves_is_documented():
    text = "".join(page.read_text() for page in (ROOT / "docs").glob("*.md"))
    missing = [name for study in studies() for name in study.files if f"`{name}" not in text and f"{name}/" not in text]
    assert missing == []


def test_reading_the_registry_imports_nothing_that_takes_long():
    """`fedlab --help` and tab completion read it."""
    code = (
        "import sys; import fedlab.studies, fedlab.cli.verbs\n"
        "slow = {'numpy', 'pydantic', 'tensorflow', 'hydra', 'omegaconf', 'scipy', 'matplotlib', 'jinja2', 'rich'}\n"
        "sys.exit(f'imported {slow & set(sys.modules)}' if slow & set(sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
