"""Describes the environment of a run, which its results depend on: fedlab itself, packages, machine."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import pathlib
import platform
import subprocess
import sys
from typing import Any

import psutil

import fedlab
from fedlab import cores

_PACKAGES = (
    "tensorflow",
    "tensorflow-federated",
    "tensorflow-privacy",
    "dp-accounting",
    "numpy",
    "scipy",
    "tenseal",
    "cryptography",
    "hydra-core",
)
# CPU features by which TensorFlow and its libraries choose kernels
_CPU_FEATURES = (
    "sse4_1",
    "sse4_2",
    "avx",
    "avx2",
    "fma",
    "f16c",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "amx_tile",
    "amx_bf16",
)


def describe() -> dict[str, Any]:
    """Returns `fedlab`, `packages` and `machine` for the manifest; devices and threads only once TensorFlow has started."""
    return {"fedlab": _fedlab(), "packages": _packages(), "machine": {**_machine(), **_tensorflow()}}


def differences(then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Returns a line for each difference that can change a result. `own_code` is compared if both have it."""
    lines = []
    for part in ("fedlab", "packages", "machine", *(["own_code"] if "own_code" in then and "own_code" in now else [])):
        before, after = (found if isinstance(found := side.get(part), dict) else {} for side in (then, now))
        for name in sorted({*before, *after} - {"memory_bytes", "host"}):
            if before.get(name) != after.get(name):
                lines.append(f"{part.replace('_', ' ')} {name}: {_shown(before.get(name))} then, {_shown(after.get(name))} now")
    return lines


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else "none" if value is None else str(value)


@functools.cache
def _fedlab() -> dict[str, Any]:
    """Returns the version and, in a checkout, the commit and whether files differ from it."""
    root = pathlib.Path(fedlab.__file__).parent.parent
    commit = _git(root, "rev-parse", "HEAD") if (root / ".git").exists() else None
    status = _git(root, "status", "--porcelain", "--untracked-files=no") if commit else None
    return {"version": fedlab.__version__, "git_commit": commit, "git_dirty": None if status is None else bool(status)}


def _git(root: pathlib.Path, *args: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(root), *args], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _packages() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in _PACKAGES}


def _machine() -> dict[str, Any]:
    model, flags = "", set()
    try:
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                model = value.strip()
            elif name.strip() == "flags":
                flags = set(value.split())
                break
    except OSError:
        model = platform.processor()
    return {
        "host": platform.node(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "cpu": model,
        "cpu_features": [f for f in _CPU_FEATURES if f in flags],
        "cores": cores.available(),
        "memory_bytes": psutil.virtual_memory().total,
    }


def _tensorflow() -> dict[str, Any]:
    tf = sys.modules.get("tensorflow")
    if tf is None:
        return {}
    gpus = [
        tf.config.experimental.get_device_details(gpu).get("device_name", "GPU") for gpu in tf.config.list_physical_devices("GPU")
    ]
    return {
        "gpus": gpus,
        "onednn": os.environ.get("TF_ENABLE_ONEDNN_OPTS", "").lower() in ("1", "true"),
        "intra_op_threads": tf.config.threading.get_intra_op_parallelism_threads(),
        "inter_op_threads": tf.config.threading.get_inter_op_parallelism_threads(),
    }
