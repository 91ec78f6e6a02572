"""Runs `fedlab train` once, and notes the CPU seconds of its phases: `populations.py COHORT ROUNDS USERS.npz RUN OUT.npz`.

The phases: `start` is importing fedlab and TensorFlow and building the graphs, `data` is reading, dividing and hashing it,
`rounds`, `end` is the final evaluation and the files of the clients, and `report` the pictures, the page and the checksums.
"""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

seconds = dict.fromkeys(("data", "rounds", "end", "report"), 0.0)


def counted(phase: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns `function`, whose CPU seconds are added to `phase`."""

    @functools.wraps(function)
    def timed(*args: Any, **options: Any) -> Any:
        began = time.process_time()
        try:
            return function(*args, **options)
        finally:
            seconds[phase] += time.process_time() - began

    return timed


def main(cohort: str, num_rounds: str, path: str, run: str, out: str) -> int:
    from fedlab.archive import inventory
    from fedlab.cli.main import main as fedlab
    from fedlab.report.run_report import RunReport
    from fedlab.run import job
    from fedlab.run import train as loop

    job.load = counted("data", job.load)
    job._described = counted("data", job._described)
    for name in ("draw", "write"):
        setattr(RunReport, name, counted("report", getattr(RunReport, name)))
    inventory.seal = counted("report", inventory.seal)
    loop.train = counting(loop.train)
    options = f"data=npz partition=by_user model=linear cohort.clients_per_round={cohort} num_rounds={num_rounds}"
    rates = "client.batch_size=2 client_optimizer.learning_rate=0.5 eval_every=5"
    status = fedlab(["train", *options.split(), *rates.split(), f"data.path={path}", f"hydra.run.dir={run}"])
    total = time.process_time()
    np.savez(out, **seconds, total=total, start=total - sum(seconds.values()))
    return status


def counting(train: Callable[..., Any]) -> Callable[..., Any]:
    """Returns `train` of a learner, whose rounds and end are counted."""

    def counted_apart(learner: Any, *args: Any) -> Any:
        learner.finish = counted("end", learner.finish)
        began = time.process_time()
        summary = train(learner, *args)
        seconds["rounds"] += time.process_time() - began - seconds["end"]
        return summary

    return counted_apart


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
