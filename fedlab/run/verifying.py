"""Repeats a run from its manifest alone, and compares the weights of each round and the checkpoints."""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fedlab.archive import Run, checkpoint
from fedlab.archive.checkpoint import DamagedCheckpoint
from fedlab.archive.folder import relative
from fedlab.archive.metrics import Record
from fedlab.archive.reading import without_inventory
from fedlab.errors import FedlabError
from fedlab.rows import Pieces
from fedlab.run import environment, recorded
from fedlab.run.job import read, require_same_data, require_whole, secrets_of
from fedlab.run.progress import Following, OnLine, nobody
from fedlab.run.resuming import Rebuilding
from fedlab.stopping import Interruption

_WITHOUT_IT = "Restore it from a copy, or delete it: the run is resumed from an earlier round without it."


@dataclasses.dataclass(frozen=True)
class Verification:
    """The result of a run whose repeated rounds gave the same bits in every weight."""

    rounds: int  # number of repeated rounds
    weights_hash: str  # of the weights after the last of them
    remarks: list[str]  # differences of the environment, and files that could not be checked


def verify(run: Run, rebuild: Rebuilding, rounds: int | None, on_line: OnLine, following: Following = nobody) -> Verification:
    """Repeats the first `rounds` rounds of `run`, or all, and compares the weights.

    Raises `FedlabError` at the first round that differs, with the differences of the environment, and for a damaged file.
    """
    require_whole(run)
    run.check()
    checkpoints = _checkpoints(run)
    records = run.records()[:rounds]
    if not records:
        raise FedlabError(f"{relative(run.path)} has no round to compare: metrics.jsonl holds none.")
    unhashed = next((record["round"] for record in records if "weights_hash" not in record), None)
    if unhashed is not None:
        raise FedlabError(f"{run.folder.metrics} is damaged: round {unhashed} has no weights_hash in it.")
    if not run.manifest["reproducible"]:
        raise FedlabError(f"{relative(run.path)} cannot be reproduced: its engine or its secure sums draw from no seed.")
    changes = _repeat(run, records, checkpoints, rebuild, on_line, following)
    unnoticed = without_inventory([run])
    return Verification(len(records), records[-1]["weights_hash"], [*changes, *([unnoticed] if unnoticed else [])])


def _repeat(
    run: Run,
    records: Sequence[Record],
    checkpoints: Mapping[int, tuple[pathlib.Path, str]],
    rebuild: Rebuilding,
    on_line: OnLine,
    following: Following,
) -> list[str]:
    """Computes the rounds of `records` again; returns the differences of the environment. Raises `FedlabError`."""
    # With the planned number of rounds, on which noise and schedules may depend, even if fewer are compared
    experiment, config = rebuild(run)
    secrets = secrets_of(run, experiment)
    inputs = read(experiment, on_line)
    require_same_data(run, inputs, config)
    from fedlab.run.learner import build_learner

    changes = environment.differences(run.manifest, {**environment.describe(), "own_code": recorded.own_code(config)})
    learner = build_learner(experiment, inputs.dataset, inputs.partition, inputs.arms, secrets)
    loggers = following(len(records))
    try:
        if learner.num_rounds < len(records):
            raise FedlabError(f"the repeated run ends after {learner.num_rounds:,} rounds. {_listed(changes, config)}")
        with Interruption() as interruption:
            for then, now in zip(records, learner.rounds(1)):
                if now["weights_hash"] != then["weights_hash"]:
                    hashes = f"the weights are {now['weights_hash']}, and were {then['weights_hash']}"
                    raise FedlabError(f"round {now['round']}: {hashes}. {_listed(changes, config)}")
                path, digest = checkpoints.get(now["round"], (None, ""))
                if path and _digest(learner.state) != digest:
                    raise FedlabError(f"{relative(path)} is not the state of this run after round {now['round']}. {_WITHOUT_IT}")
                for logger in loggers:
                    logger.log(now)
                interruption.check()
    finally:
        for logger in loggers:
            logger.close()
        learner.close()
    return changes


def _checkpoints(run: Run) -> dict[int, tuple[pathlib.Path, str]]:
    """Returns (file, digest of the state) of the run's checkpoints by their rounds. Raises `FedlabError` for a damaged one."""
    found = {}
    for path in checkpoint.newest_first(run.folder.checkpoints):
        try:
            saved = checkpoint.load(path)
        except DamagedCheckpoint as error:
            raise FedlabError(f"{error} {_WITHOUT_IT}") from error
        found[saved.round] = path, _digest(saved.state)
    return found


def _digest(state: Sequence[Any]) -> str:
    """Returns the SHA-256 of the types, shapes and bits of a state's tensors, some of which may be in pieces."""
    digest = hashlib.sha256()
    for tensor in state:
        found = tensor if isinstance(tensor, Pieces) else np.asarray(tensor)
        digest.update(f"{found.dtype.str}{found.shape}".encode())
        for piece in found if isinstance(found, Pieces) else (found,):
            digest.update(repr(piece.tolist()).encode() if piece.dtype == object else np.ascontiguousarray(piece).data)
    return digest.hexdigest()


def _listed(changes: list[str], config: Mapping[str, Any]) -> str:
    """Returns the possible reasons of a difference, in words."""
    if changes:
        return f"Differences of the environment: {'; '.join(changes)}."
    own = recorded.findings(config)
    if own:
        return (
            f"The environment is the same, and the run uses code of your own ({'; '.join(own)}): it must depend on its arguments "
            "alone, and draw random numbers from its seed or as TensorFlow ops. If it does so, this is a bug in fedlab."
        )
    return "The environment is the same, so this is a bug in fedlab."
