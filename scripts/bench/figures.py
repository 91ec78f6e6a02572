"""Computes the figures of the suites from their measurements, and describes the machine."""

from __future__ import annotations

import importlib.metadata
import os
import pathlib
import platform
import statistics
from collections.abc import Sequence
from typing import Any

import psutil

BUSY = 0.2  # CPU seconds per second used elsewhere from which on a measurement is called noisy


def spread(values: Sequence[float]) -> dict[str, float]:
    """Of at least one value."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def machine() -> dict[str, Any]:
    """The processor, its cores and memory, and the versions that decide how fast it computes."""
    packages = ("tensorflow", "tensorflow-federated", "numpy")
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": psutil.virtual_memory().total,
        "python": platform.python_version(),
        **{package: importlib.metadata.version(package) for package in packages},
    }


def _cpu_model() -> str:
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
