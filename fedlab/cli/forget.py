"""`fedlab forget RUN …`: deletes noise.key and the checkpoints, so that nobody can take the noise of the runs off any more."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Iterator, Sequence

from fedlab.archive import Run, noise_key, read_run
from fedlab.archive.arms import arm_configs
from fedlab.archive.folder import relative
from fedlab.archive.investigation import InvestigationFolder
from fedlab.archive.lock import RunLock
from fedlab.archive.sweep import SweepFolder
from fedlab.cli.parsing import Parser
from fedlab.errors import FedlabError

_NO_MORE = "its noise cannot be drawn again, and it can be neither resumed nor verified"


def main(argv: Sequence[str]) -> int:
    """Returns 0 where no run has a noise.key any more. Raises `FedlabError` where one never had it, or a process writes to it."""
    parser = Parser(
        "fedlab forget",
        description="deletes noise.key and the checkpoints of runs: their noise cannot be taken off any more, and they can be "
        "neither resumed nor verified. Copies that a backup or a file system keeps are not deleted.",
    )
    parser.add_argument("runs", metavar="RUN", nargs="+", help="a run, a sweep (all its jobs) or an investigation")
    args = parser.parse(argv)
    with contextlib.ExitStack() as stack:
        locked = [run for path in map(pathlib.Path, args.runs) for run in _locked(path, stack)]
        secret = [run for run in locked if _had_secrets(run)]
        if not secret:
            raise FedlabError(f"nothing to forget: {', '.join(args.runs)} drew no noise, or drew it from the seed.")
        for run in secret:
            print(f"{relative(run.path)}: {_forget(run)}")
    return 0


def _locked(path: pathlib.Path, stack: contextlib.ExitStack) -> Iterator[Run]:
    """The run in `path`, or those of the sweep or of the investigation, which nobody writes to until `stack` ends."""
    sweep, investigation = SweepFolder(path), InvestigationFolder(path)
    folders = [path]
    if not (path / "manifest.json").is_file():
        if sweep.table.is_file():
            stack.enter_context(RunLock(sweep.lock))
            folders = [job.path for job, _ in sweep.jobs() if job.manifest.is_file()]
        elif investigation.gans.manifest.is_file():
            folders = [investigation.gans.path]
    for folder in folders:
        run = read_run(folder, checked=False)  # also of a damaged run, the key can be deleted
        stack.enter_context(RunLock(run.folder.lock))
        yield read_run(folder, checked=False)  # as whoever held the lock left it


def _had_secrets(run: Run) -> bool:
    """Whether the run drew noise from a key, or from the operating system, as `noise_source: os` did in older runs."""
    stages = (config.get("privacy") or {} for config in (run.config, *arm_configs(run.config).values()))
    return bool(run.manifest.get("noise_key")) or any(stage.get("noise_source") == "os" for stage in stages)


def _forget(run: Run) -> str:
    """Deletes, and says what happened. Nothing is written: the manifest names a key that is gone."""
    deleted = noise_key.forget(run.folder)
    if not deleted:
        return f"has been forgotten already: {_NO_MORE}"
    checkpoints = len(deleted) - (run.folder.noise_key in deleted)
    what = ["noise.key"] * (run.folder.noise_key in deleted) + [f"{checkpoints} checkpoint{'s' * (checkpoints != 1)}"]
    seen = "; observed/ still holds what the server received from clients" if run.folder.observed.is_dir() else ""
    return f"deleted {' and '.join(what)}: {_NO_MORE}{seen}"
