"""Deletes noise.key and the checkpoints of runs, so that nobody can draw their noise again."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Iterator, Sequence

from fedlab import registry
from fedlab.archive import Run, noise_key, read_run
from fedlab.archive.arms import arm_configs
from fedlab.archive.lock import RunLock
from fedlab.errors import FedlabError

_NO_MORE = "its noise cannot be drawn again, and it can be neither resumed nor verified"


def forget(paths: Sequence[pathlib.Path]) -> Iterator[tuple[Run, str]]:
    """Deletes the keys of the runs in `paths`: folders of runs, or of a study. Yields each run, and a line on the deletion.

    Raises `FedlabError`, before anything is deleted, if no run had a noise.key, or a process writes to a run.
    """
    with contextlib.ExitStack() as stack:
        locked = [run for path in paths for run in _locked(path, stack)]
        if not any(map(_had_secrets, locked)):
            raise FedlabError(f"nothing to forget: {', '.join(map(str, paths))} drew no noise, or drew it from the seed.")
        for run in locked:
            yield run, _deleted(run) if _had_secrets(run) else "nothing to forget: it drew no noise, or drew it from the seed"


def _locked(path: pathlib.Path, stack: contextlib.ExitStack) -> Iterator[Run]:
    """Yields the run in `path`, or the runs of the study in `path`, locked until `stack` ends."""
    folders = None if (path / "manifest.json").is_file() else registry.runs_in(path, stack)
    for folder in [path] if folders is None else folders:
        run = read_run(folder, checked=False)  # the key of a damaged run can be deleted, too
        stack.enter_context(RunLock(run.folder.lock))
        yield read_run(folder, checked=False)  # again: the previous owner of the lock may have changed it


def _had_secrets(run: Run) -> bool:
    """Returns whether the run drew noise from a key, or, in older runs, from the operating system (`noise_source: os`)."""
    stages = (config.get("privacy") or {} for config in (run.config, *arm_configs(run.config).values()))
    return bool(run.manifest.get("noise_key")) or any(stage.get("noise_source") == "os" for stage in stages)


def _deleted(run: Run) -> str:
    """Deletes the key and the checkpoints; returns a line about it. The manifest stays: it names the deleted key."""
    deleted = noise_key.forget(run.folder)
    if not deleted:
        return f"has been forgotten already: {_NO_MORE}"
    checkpoints = len(deleted) - (run.folder.noise_key in deleted)
    what = ["noise.key"] * (run.folder.noise_key in deleted) + [f"{checkpoints} checkpoint{'s' * (checkpoints != 1)}"]
    seen = "; observed/ still holds what the server received from clients" if run.folder.observed.is_dir() else ""
    return f"deleted {' and '.join(what)}: {_NO_MORE}{seen}"
