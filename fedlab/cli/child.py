"""The command that runs a job of a sweep, or a run of an investigation, in a process of its own."""

from __future__ import annotations

import os
import pathlib
import sys

from fedlab import trust
from fedlab.cli.trusting import FLAG

# `python -m` and `python -c` look for every module in the current folder first, where a file may be called yaml.py
_BOOT = (
    "import sys; sys.path[:] = filter(None, sys.path); from fedlab.cli.sweep_process import main; sys.exit(main(sys.argv[1:]))"
)


def job_command(folder: pathlib.Path, trusted: bool | None = None) -> list[str]:
    """Runs the job that `folder`/job.json describes. `trusted`: whether --trust was given; None: asks this process."""
    everything = trust.everything_is_trusted() if trusted is None else trusted
    return [sys.executable, "-c", _BOOT, str(folder), str(os.getpid()), *([FLAG] if everything else [])]
