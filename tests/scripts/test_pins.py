"""The pinned files against pyproject.toml, without asking a registry; `scripts/pins.py --check` does ask."""

from __future__ import annotations

import importlib.util
import pathlib
import types

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXTRAS = ("dev", "arrow", "ray", "mlflow", "gpu")


@pytest.fixture(scope="module")
def pins() -> types.ModuleType:
    spec = importlib.util.spec_from_file_location("pins", ROOT / "scripts" / "pins.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def environment(python: str) -> dict[str, str]:
    return {
        "python_version": python,
        "python_full_version": f"{python}.13",
        "sys_platform": "linux",
        "platform_machine": "x86_64",
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
    }


def pinned(pins: types.ModuleType, extra: str, python: str) -> dict[str, set[str]]:
    """{name: versions} that `pip install -r requirements/EXTRA.txt` would be told on this Python."""
    found: dict[str, set[str]] = {}
    for file in {"base", extra}:
        for name, version, marker in pins.parse((ROOT / "requirements" / f"{file}.txt").read_text()):
            if Requirement(f"{name}; {marker}").marker.evaluate(environment(python)):
                found.setdefault(name, set()).add(version)
    return found


@pytest.mark.parametrize("python", ["3.10", "3.11"])
@pytest.mark.parametrize("extra", ["base", *EXTRAS])
def test_every_direct_dependency_has_one_pin_that_satisfies_it(pins: types.ModuleType, extra: str, python: str) -> None:
    import importlib.metadata

    versions = pinned(pins, extra, python)
    assert all(len(found) == 1 for found in versions.values())
    for line in importlib.metadata.requires("fedlab-runner") or ():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({**environment(python), "extra": extra}):
            [version] = versions[canonicalize_name(requirement.name)]
            assert requirement.specifier.contains(version), (line, version)


@pytest.mark.parametrize("extra", ["base", *EXTRAS])
def test_the_files_name_no_registry_and_every_pin_has_a_hash(pins: types.ModuleType, extra: str) -> None:
    text = (ROOT / "requirements" / f"{extra}.txt").read_text()
    assert "://" not in text and "--index" not in text and "--find-links" not in text
    assert all(len(lines) > 1 for lines in pins.parse(text).values())
    assert text == pins.render(extra, pins.parse(text))


def test_a_difference_is_one_line_and_new_hashes_are_none(pins: types.ModuleType) -> None:
    old = pins.parse("a==1 ; python_version < '3.10' \\\n    --hash=sha256:0\nb==1 \\\n    --hash=sha256:1\nc==3\n")
    new = pins.parse("a==2 ; python_version < '3.10' \\\n    --hash=sha256:0\nb==1 \\\n    --hash=sha256:2\nd==4\n")
    assert pins.differences("dev", old, new) == [
        "requirements/dev.txt: a: 1 (python_version < '3.10'); should be 2 (python_version < '3.10')",
        "requirements/dev.txt: c: 3; should be absent",
        "requirements/dev.txt: d: absent; should be 4",
    ]


def test_a_registry_in_the_file_is_refused(pins: types.ModuleType) -> None:
    with pytest.raises(SystemExit, match="not a pin"):
        pins.parse("--index-url somewhere\na==1\n")
