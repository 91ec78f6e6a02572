"""The process of one job, `main([FOLDER, PARENT])` or with --trust. It ends when the process PARENT does."""

from __future__ import annotations

import os
import pathlib
import shlex
import signal
import sys
from collections.abc import Sequence

from omegaconf import OmegaConf
from rich.console import Console

from fedlab import stopping, trust
from fedlab.archive import read_run
from fedlab.archive.differences import compared
from fedlab.archive.inventory import DamagedRun
from fedlab.archive.lock import RunLock
from fedlab.archive.manifest import WITHOUT_EFFECT
from fedlab.archive.sweep import JobFolder, JobRecord
from fedlab.cli import config as configuration
from fedlab.cli import recorded, streams
from fedlab.cli.job import Job, start
from fedlab.cli.resume import resume
from fedlab.cli.trusting import FLAG
from fedlab.errors import FedlabError

_PATIENCE_SECONDS = 600.0  # a job of a sweep that was killed finishes its round and saves its state


def main(argv: Sequence[str]) -> int:
    """Starts the run that FOLDER's job.json describes, or goes on with it; returns the exit code."""
    streams.prepare()
    stopping.OnSignal(stopping.stop).__enter__()
    _end_with(int(argv[1]))
    try:
        with trust.session(everything=FLAG in argv[2:]):
            _run(JobFolder(pathlib.Path(argv[0])))
    except FedlabError as error:
        print(f"fedlab train: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return 0


def _run(folder: JobFolder) -> None:
    record = folder.read()
    if record is None:
        raise FedlabError(f"{folder.record} cannot be read: remove {folder.path}.")
    trust.agree(recorded.findings(record.config))  # which the user's own command has composed, just now
    console = Console(soft_wrap=True)
    with RunLock(folder.lock, _PATIENCE_SECONDS):
        status = _status(folder)
        if status == "finished":
            return
        if status is None:
            folder.discard()
    if status == "unfinished":
        _require_same(folder, record)
        resume(str(folder.path), [], console, shlex.split(record.command)[2:])
        return
    experiment = configuration.build_experiment(OmegaConf.create(record.config))
    start(Job(experiment, record.config, record.name, record.command), lambda: folder, console)


def _require_same(folder: JobFolder, record: JobRecord) -> None:
    """Raises `FedlabError` where the run in the folder is not the one that the user's command asks for."""
    for key, then, now in compared(read_run(folder.path, to_go_on=True).config, record.config):
        if key.partition(".")[0] not in WITHOUT_EFFECT:
            raise FedlabError(f"{folder.path} holds another run, whose {key} is {then} and not {now}: remove that folder.")


def _status(folder: JobFolder) -> str | None:
    """finished, unfinished, or None for what begins anew: no run, or one that failed, perhaps by the state that it saved.

    Raises `DamagedRun`: nobody but the user may throw away what has been computed.
    """
    try:
        run = read_run(folder.path, to_go_on=True)
    except DamagedRun:
        raise
    except FedlabError:
        return None
    if run.status == "finished" and run.unsealed:
        return "unfinished"
    return {"finished": "finished", "failed": None}.get(run.manifest["status"], "unfinished")


def _end_with(parent: int) -> None:
    """Ends this process as SIGTERM does, once its state is saved, when its parent dies, however that happens.

    The kernel tells of the death of each of the parent's threads, and a second SIGTERM would end the run before it has saved its
    state. So it is told to send another signal, of which the first counts.
    """

    def orphaned(number: int, frame: object) -> None:
        signal.signal(number, signal.SIG_IGN)
        os.kill(os.getpid(), signal.SIGTERM)

    signal.signal(signal.SIGUSR1, orphaned)
    if not stopping.end_with(parent, signal.SIGUSR1):
        sys.exit(128 + signal.SIGTERM)
