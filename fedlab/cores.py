"""The number of cores that this process uses."""

from __future__ import annotations

import os

from fedlab.errors import ConfigError

VARIABLE = "FEDLAB_CORES"


def available() -> int:
    """Returns the number of cores that the kernel grants, or `FEDLAB_CORES` if smaller, which is set in parallel jobs."""
    granted = len(os.sched_getaffinity(0))
    wanted = os.environ.get(VARIABLE)
    if wanted is None:
        return granted
    if not wanted.isdecimal() or int(wanted) < 1:
        raise ConfigError(f"{VARIABLE}={wanted} is not a number of cores: set it to 1 or more, or unset it.")
    return min(granted, int(wanted))


def share(processes: int) -> int:
    """Returns the number of cores of each of `processes` that run in parallel: at least 1."""
    return max(1, available() // processes)


def limiting(count: int) -> dict[str, str]:
    """Returns the environment variables that make a process and its libraries use `count` cores."""
    return {VARIABLE: str(count), "OMP_NUM_THREADS": str(count)}
