"""The process of one job, `main([FOLDER, PARENT])` or with --trust, and that of a verb, `verb([PARENT, VERB, …])`.

Both end when the process PARENT does.
"""

from __future__ import annotations

import functools
import os
import pathlib
import signal
import sys
from collections.abc import Sequence

from rich.console import Console

from fedlab import stopping, trust
from fedlab.archive import read_run
from fedlab.archive.inventory import DamagedRun
from fedlab.archive.lock import RunLock
from fedlab.config import composing as configuration
from fedlab.config.rebuilding import continued
from fedlab.console import streams
from fedlab.console.display import lines_on, rounds_on
from fedlab.console.output import report_own_code
from fedlab.console.trusting import FLAG
from fedlab.errors import FedlabError, printable
from fedlab.report.run_report import RunReport
from fedlab.run import locations, recorded
from fedlab.run.child import JobFolder, JobRecord
from fedlab.run.job import Job, read, require_same_data, require_whole
from fedlab.run.job import run as compute
from fedlab.run.resuming import resume

_PATIENCE_SECONDS = 600.0  # a job of a killed sweep first finishes its round and saves its state


def main(argv: Sequence[str] | None = None) -> int:
    """Starts or continues the run that job.json in FOLDER describes. Returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    streams.prepare()
    stopping.OnSignal(stopping.stop).__enter__()
    _end_with(int(argv[1]))
    try:
        with trust.session(everything=FLAG in argv[2:]):
            _run(JobFolder(pathlib.Path(argv[0])))
    except FedlabError as error:
        print(f"fedlab train: {printable(error)}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BaseException as error:  # a user's code may exit
        return report_own_code(error, "train")
    return 0


def verb(argv: Sequence[str] | None = None) -> int:
    """Runs `fedlab VERB …`. Returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    from fedlab.cli.main import main as fedlab

    stopping.OnSignal(stopping.stop).__enter__()
    try:
        _end_with(int(argv[0]))
    except SystemExit as error:  # the parent has ended already
        return int(error.code or 0)
    return fedlab(argv[1:])


def _run(folder: JobFolder) -> None:
    record = folder.read()
    if record is None:
        raise FedlabError(f"{folder.record} cannot be read: remove {folder.path}.")
    for code in (None, str(pathlib.Path.cwd())):  # the config comes from the user's own command, so its code is looked up here
        trust.agree(recorded.findings(record.config, code))
    console = Console(soft_wrap=True)
    with RunLock(folder.lock, _PATIENCE_SECONDS):
        status = _status(folder)
        if status == "finished":
            _require_same_data(folder, record, console)
            return
        if status is None:
            folder.discard()
    if status == "unfinished":
        _require_same(folder, record)
        at_now = functools.partial(continued, overrides=[], at=record.config)
        resume(folder.path, at_now, record.command, RunReport(), lines_on(console), rounds_on(console))
        return
    experiment = configuration.build_experiment(record.config)

    job = Job(experiment, record.config, record.name, record.command)
    compute(job, folder, RunReport(), lines_on(console), rounds_on(console))


def _require_same(folder: JobFolder, record: JobRecord) -> None:
    """Raises `FedlabError` if the configuration of the run in the folder differs from that of `record`."""
    for key, then, now in locations.differences(read_run(folder.path, to_go_on=True).config, record.config):
        raise FedlabError(f"{folder.path} holds another run, whose {key} is {then} and not {now}: remove that folder.")


def _require_same_data(folder: JobFolder, record: JobRecord, console: Console) -> None:
    """Raises `FedlabError` if the data files have moved since the run, and the files that `record` names differ."""
    run = read_run(folder.path)
    if not locations.have_moved(run.config, record.config):
        return
    require_whole(run)
    config = locations.taken_from(record.config, run.config)
    experiment = configuration.build_experiment(recorded.trusted(config, run.path, run.manifest.get("code")))
    require_same_data(run, read(experiment, lines_on(console)), config)


def _status(folder: JobFolder) -> str | None:
    """Returns "finished", "unfinished", or None to start again: there is no run, or it failed, perhaps by its saved state.

    Raises `DamagedRun`: only the user may delete computed results.
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
    """Ends this process when its parent dies, as SIGTERM does: the run saves its state first.

    The kernel sends a signal for each thread of the parent, and a second SIGTERM would end the run before it has saved its
    state. The kernel therefore sends SIGUSR1, and only the first one becomes a SIGTERM.
    """

    def orphaned(number: int, frame: object) -> None:
        signal.signal(number, signal.SIG_IGN)
        os.kill(os.getpid(), signal.SIGTERM)

    signal.signal(signal.SIGUSR1, orphaned)
    if not stopping.end_with(parent, signal.SIGUSR1):
        stopping.stop(signal.SIGTERM)
