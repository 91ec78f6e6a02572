"""Continues a run in its own folder, from its own configuration."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

from fedlab.archive import Run, RunFolder, read_run
from fedlab.archive.folder import relative
from fedlab.archive.lock import RunLock
from fedlab.archive.metrics import Summary
from fedlab.archive.task import learned
from fedlab.errors import ConfigError
from fedlab.run.early_stop import Watch
from fedlab.run.experiment import Experiment, is_private
from fedlab.run.job import Job, go_on, require_whole
from fedlab.run.progress import Following, OnLine, nobody
from fedlab.run.reporting import Report

Rebuilding = Callable[[Run], tuple[Experiment, dict[str, Any]]]  # the experiment of a recorded run, and its configuration

_PATIENCE_SECONDS = 5.0  # a run that was just told to stop may still be saving its state


def resume(
    path: pathlib.Path, rebuild: Rebuilding, command: str, report: Report, on_line: OnLine, following: Following = nobody
) -> Summary:
    """Continues the run in `path`, rebuilt by `rebuild`; returns its summary.

    `command`: the command line that the manifest records. `report`: as for `fedlab.run.job.run`.

    Raises `ConfigError` if no round is left to compute, and for a number of rounds that does not suit the run.
    """
    folder = RunFolder.existing(path)
    with RunLock(folder.lock, _PATIENCE_SECONDS):
        run = read_run(folder.path, to_go_on=True)
        require_whole(run)
        experiment, config = rebuild(run)
        _require_rounds(run, experiment)
        return go_on(Job(experiment, config, run.manifest["name"], command), run, report, on_line, following)


def _require_rounds(run: Run, experiment: Experiment) -> None:
    done, planned, wanted = run.rounds_completed, run.manifest["num_rounds"], experiment.num_rounds
    private = any(is_private(one) for one in experiment.arms.values() or [experiment])
    if private and wanted < planned:
        raise ConfigError(
            f"num_rounds={wanted}, but {relative(run.path)} was planned with {planned} rounds, whose ε holds although the run "
            f"may end earlier: give no less than num_rounds={planned}."
        )
    if run.manifest["status"] == "finished" and not run.unsealed:
        if wanted == planned and not run.summary.get("stopped"):
            raise ConfigError(f"{relative(run.path)} has finished all of its {done} rounds: add more with num_rounds=N.")
        reason = _would_end(run, experiment) if wanted > done else None
        if reason:
            raise ConfigError(
                f"{relative(run.path)} would end after its {done} rounds at once ({reason}): go on without early stopping, with "
                "stop.when=null stop.patience=null, or with conditions that its rounds do not meet."
            )
    if wanted < done:
        raise ConfigError(f"num_rounds={wanted}, but {relative(run.path)} has done {done} rounds already.")
    for name, one in experiment.arms.items() or [("", experiment)]:
        if wanted != planned and getattr(one.privacy, "target_epsilon", None):
            option = f"arms.{name}.privacy.target_epsilon" if name else "privacy.target_epsilon"
            raise ConfigError(
                f"{option} of {relative(run.path)} is spent by its {planned} rounds, for which "
                "the noise was chosen: it cannot have another number of rounds."
            )


def _would_end(run: Run, experiment: Experiment) -> str | None:
    """Returns the reason for which the computed rounds already end a longer run; None if they do not."""
    watch = Watch(experiment.stop, learned(run.manifest))
    evaluated = [record for record in run.records() if record["round"] % experiment.eval_every == 0]  # also in a longer run
    return next(filter(None, map(watch.note, evaluated)), None)
