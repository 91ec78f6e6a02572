"""How many cores this process computes on."""

from __future__ import annotations

import os

from fedlab.errors import ConfigError

VARIABLE = "FEDLAB_CORES"


def available() -> int:
    """Those that the kernel grants, or fewer where `FEDLAB_CORES` says so, as it does in jobs that run side by side."""
    granted = len(os.sched_getaffinity(0))
    wanted = os.environ.get(VARIABLE)
    if wanted is None:
        return granted
    if not wanted.isdecimal() or int(wanted) < 1:
        raise ConfigError(f"{VARIABLE}={wanted} is not a number of cores: set it to 1 or more, or unset it.")
    return min(granted, int(wanted))
