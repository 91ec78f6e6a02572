"""`fedlab doctor` on this machine as it is, and on the same machine broken in several ways at once."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
from typing import Any

import pytest


def doctor(*args: str, cwd: pathlib.Path, **environment: str) -> subprocess.CompletedProcess[str]:
    fedlab = str(pathlib.Path(sys.executable).parent / "fedlab")
    return subprocess.run(
        [fedlab, "doctor", *args], capture_output=True, text=True, cwd=cwd, env={**os.environ, **environment}, timeout=1800
    )


def by_name(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    return {finding["name"]: finding for finding in json.loads(done.stdout)["findings"]}


def test_a_healthy_machine_can_train(tmp_path: pathlib.Path) -> None:
    done = doctor("--json", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["can_train"] is True
    found = by_name(done)
    assert found["tensorflow-federated"]["detail"] == "0.87.0"
    assert {"python", "jax", "TensorFlow", "TenSEAL", "GPU", "CPU", "memory", "disk", "data digits"} <= set(found)


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    shadow = tmp_path_factory.mktemp("shadow")
    (shadow / "tenseal.py").write_text("raise ImportError('libseal.so: cannot open shared object file')\n")
    (shadow / "psutil.py").write_text("raise ModuleNotFoundError(\"No module named 'psutil'\", name='psutil')\n")
    (shadow / "tensorflow_federated.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGILL)\n")
    metadata = shadow / "hydra_core-9.9.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: hydra-core\nVersion: 9.9\n")
    return doctor(cwd=shadow, PYTHONPATH=str(shadow))


@pytest.mark.parametrize(
    ("name", "said", "remedy"),
    [
        ("TenSEAL", "libseal.so: cannot open shared object file", "pip install --no-deps --force-reinstall 'tenseal==0.3."),
        ("hydra-core", "9.9 installed, fedlab needs <1.4,>=1.3.2", "pip install --no-deps 'hydra-core==1.3."),
        ("TensorFlow Federated", "TensorFlow 2.14 needs AVX", "'tensorflow-federated==0.87.0'"),
        ("hardware", "No module named 'psutil'", "'psutil=="),
    ],
)
def test_each_problem_is_one_line_with_its_remedy(
    broken: subprocess.CompletedProcess[str], name: str, said: str, remedy: str
) -> None:
    assert broken.returncode == 1
    [line] = [line for line in broken.stdout.splitlines() if line.startswith(f"✗ {name} ")]
    detail, _, cure = line.partition(" → ")
    assert said in detail
    assert remedy in cure


def test_a_broken_machine_gets_a_report_and_no_traceback(broken: subprocess.CompletedProcess[str]) -> None:
    assert broken.stderr == ""
    assert broken.stdout.splitlines()[-1].startswith("Training would not work: 4 problems")


def test_a_folder_that_cannot_be_written_is_a_problem(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fedlab.cli.checks import check_disk

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    [finding] = check_disk()
    assert (finding.status, bool(finding.remedy)) == ("problem", True)
