#!/usr/bin/env python3
"""How far one training differs under plain, masked and encrypted sums, and what each costs: a table in Markdown.

    fedlab train +experiment=mnist/protections_agree
    python scripts/protections_agree.py multirun/mnist/protections_agree/*

FOLDER holds finished runs that differ in `secure` alone, one of them plain. Reads the folders only; trains nothing.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from fedlab.archive import Run, checkpoint, scan
from fedlab.archive.manifest import WITHOUT_EFFECT
from fedlab.errors import FedlabError


def main(argv: Sequence[str]) -> int:
    """Prints the table of one folder; 1 and a line on standard error where there is none to be made."""
    parser = argparse.ArgumentParser(
        prog="protections_agree.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=pathlib.Path, metavar="FOLDER")
    try:
        print(table(runs_below(parser.parse_args(argv).folder)))
    except FedlabError as error:
        print(f"protections_agree: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def runs_below(folder: pathlib.Path) -> dict[str, Run]:
    """The finished runs: plain first, then by what they send. Raises `FedlabError` for runs that cannot be compared."""
    found: dict[str, Run] = {}
    for run in scan(folder):
        if isinstance(run, FedlabError):
            raise run
        if run.status != "finished":
            raise FedlabError(f"{run.path} is {run.status}: type the command of the sweep again, and it goes on.")
        if protection(run) in found:
            raise FedlabError(f"{folder} holds two runs with secure={protection(run)}: give the folder of one sweep.")
        found[protection(run)] = run
    if "plain" not in found:
        raise FedlabError(f"{folder} holds no run with secure=plain, which the others are held to (found: {[*found]}).")
    for run in found.values():
        differing = sorted(key for key, value in _shared(run).items() if value != _shared(found["plain"]).get(key))
        if differing:
            raise FedlabError(f"{run.path} differs from the plain run in {', '.join(differing)}: only secure may differ.")
    return dict(sorted(found.items(), key=lambda item: (item[0] != "plain", item[1].summary["bytes_up_total"])))


def protection(run: Run) -> str:
    """plain, masked, ckks."""
    return run.config["secure"]["_target_"].rpartition(".")[2].lower()


def weights(run: Run) -> dict[int, np.ndarray]:
    """float64 [num_weights], end to end, after the oldest and the newest of the rounds whose checkpoints there are."""
    newest_first = checkpoint.newest_first(run.folder.checkpoints)
    if not newest_first:
        raise FedlabError(f"{run.path} holds no checkpoint, from which to read the weights.")
    found = (checkpoint.load(path) for path in (newest_first[-1], newest_first[0]))
    return {saved.round: _weights(saved.state, run.summary["num_weights"]) for saved in found}


def table(runs: dict[str, Run]) -> str:
    """A row per run: the largest difference of a weight from the plain run, accuracy, upload and time."""
    reference = weights(runs["plain"])
    differences = [f"max abs Δw, round {r}" for r in reference]
    rows: list[Sequence[str]] = [["`secure`", *differences, "test accuracy", "MB up a round", "seconds per round"]]
    rows.append(["---"] * len(rows[0]))
    for name, run in runs.items():
        summary, found = run.summary, weights(run)
        if list(found) != list(reference):
            raise FedlabError(
                f"{run.path} holds checkpoints of rounds {[*found]}, the plain run of {[*reference]}: "
                "train with checkpoint.every=1 and checkpoint.keep=ROUNDS."
            )
        apart = ["–" if name == "plain" else f"{np.abs(found[r] - reference[r]).max():.1e}" for r in reference]
        megabytes = summary["bytes_up_total"] / summary["num_rounds"] / 1e6
        accuracy, seconds = f"{summary['test_accuracy']:.2%}".replace("%", " %"), f"{summary['seconds_per_round']:.2g}"
        rows.append([f"`{name}`", *apart, accuracy, f"{megabytes:.2f}", seconds])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _weights(state: Sequence[np.ndarray], num_weights: int) -> np.ndarray:
    """The model's part of a process's state, which begins with it."""
    tensors = [np.ravel(t).astype(np.float64) for t in state]
    assert num_weights in np.cumsum([t.size for t in tensors])
    return np.concatenate(tensors)[:num_weights]


def _shared(run: Run) -> dict[str, Any]:
    """Returns the options that must be equal, and the number of rounds."""
    left_out = {*WITHOUT_EFFECT, "secure"}
    return {**{k: v for k, v in run.config.items() if k not in left_out}, "num_rounds": run.rounds_completed}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
