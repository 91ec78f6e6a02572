"""One job of a sweep, seen from the process that a launcher chose for it: prepares its folder, starts its process, waits.

The run itself has a process of its own. So no TensorFlow is carried from job to job, a job that dies takes no other with it,
and it is the same under every launcher.
"""

from __future__ import annotations

import contextlib
import copy
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fedlab import cores, stopping
from fedlab.archive import make_folder, private, read_run
from fedlab.archive.sweep import JobFolder, JobRecord, SweepFolder
from fedlab.cli import config as configuration
from fedlab.cli import sweep_stop
from fedlab.cli.child import job_command
from fedlab.cli.sweep_plan import Plan, job_folder, job_parameters
from fedlab.cli.sweep_plan import job_command as typed_command
from fedlab.cli.sweep_stop import Stopping
from fedlab.cli.sweep_table import figures, short_names, shown_value, write_table
from fedlab.errors import FedlabError

_STOPPED = {code for number in stopping.SIGNALS for code in (128 + number, -number)}  # exit codes
_LOOK_SECONDS = 0.2


def run_job(plan: Plan, config: DictConfig) -> float | list[float] | None:
    """The task that Hydra hands to a launcher. Returns the objective; where there is none None, a failure to Optuna."""
    leads = os.getpid() == plan.pid
    Stopping.waiting_here = leads
    try:
        folder = SweepFolder(plan.folder)
        values = _over_seeds(plan, config, folder)
        stop = sweep_stop.asked(folder)
        if leads and stop:
            stopping.stop(stop)
        if _abandoned(plan):
            os._exit(1)  # a worker whose sweep was killed: it must begin no other job
    finally:
        Stopping.waiting_here = False
    return values[0] if values and len(values) == 1 else values


def _over_seeds(plan: Plan, config: DictConfig, folder: SweepFolder) -> list[float] | None:
    """Runs the job with each of its seeds; returns the mean objective, or None unless all have one."""
    values: list[list[float] | None] = []
    for repeat in range(plan.objective.seeds):
        if sweep_stop.asked(folder) or _abandoned(plan):
            return None
        values.append(_run(plan, config, folder, repeat))
    return plan.objective.over_seeds(values)[0]


def _run(plan: Plan, config: DictConfig, sweep: SweepFolder, repeat: int) -> list[float] | None:
    """One job, from its configuration to its objective; tells of its beginning and its end. `repeat`: added to its seed."""
    folder, record, wrong = _prepared(plan, config, repeat)
    before, state, label = folder.read(), _state(folder), _label(plan, record)
    if state == "finished":
        record.status, happened = "finished", "had finished before"
    elif before and before.status == "failed" and before.invocation == plan.invocation:  # Optuna may choose the same again
        record.status, record.failure, happened = "failed", before.failure, "had failed already"
    else:
        _say(plan, f"{label}: {'goes on' if state == 'interrupted' else 'starts'}")
        make_folder(folder.path)
        folder.write(record)
        started = time.monotonic()
        code = 2 if wrong else _process(plan, folder, pathlib.Path(HydraConfig.get().runtime.cwd))
        seconds = time.monotonic() - started
        record.seconds = round(record.seconds + seconds, 1)
        record.status = "finished" if code == 0 else "interrupted" if code in _STOPPED else "failed"
        record.failure = wrong or _failure(folder, code) if record.status == "failed" else None
        happened = f"{record.status} after {seconds:.0f} s"
    values = _values(plan, folder, record)
    folder.write(record)
    write_table(plan, sweep)
    if values:
        _say(plan, f"{label}: {happened}, " + figures(plan.objective.metric, values))
    elif record.failure:
        print(f"{label}: {happened}: {record.failure}", file=sys.stderr, flush=True)
    else:
        _say(plan, f"{label}: {happened}")
    return values


def _prepared(plan: Plan, config: DictConfig, repeat: int) -> tuple[JobFolder, JobRecord, str | None]:
    """The job's folder, which need not exist yet, its record, and what is wrong with a configuration that cannot be resolved."""
    settings = HydraConfig.get()
    overrides, wrong = list(settings.overrides.task), None
    if plan.objective.seeds > 1:
        config = copy.deepcopy(config)
        config.seed += repeat
        overrides = [*(o for o in overrides if o.partition("=")[0] != "seed"), f"seed={config.seed}"]
    try:
        plain: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        plain, wrong = OmegaConf.to_container(config, resolve=False), configuration.why(error, overrides)
    parameters = job_parameters(plan, overrides)
    folder = JobFolder(job_folder(plan.folder, parameters, plain))
    before = folder.read()
    record = JobRecord(
        number=before.number if before else plan.first_number + settings.job.num * plan.objective.seeds + repeat,
        name=plan.name,
        command=typed_command(plan, overrides),
        parameters=before.parameters if before and not parameters else parameters,
        config=plain,
        seconds=before.seconds if before else 0.0,
        invocation=plan.invocation,
    )
    return folder, record, wrong


def _label(plan: Plan, record: JobRecord) -> str:
    short = short_names(record.parameters)
    words = [f"{short[key]}={shown_value(value)}" for key, value in record.parameters.items()]
    of = f" of {plan.total}" if plan.total and record.number <= plan.total else ""
    return "  ".join([f"job {record.number}{of}", *words])


def _values(plan: Plan, folder: JobFolder, record: JobRecord) -> list[float] | None:
    """The objective of a run that has finished; where it has none, `record` says why."""
    if record.status != "finished":
        return None
    try:
        return plan.objective.values(read_run(folder.path).summary)
    except FedlabError as error:
        record.failure = str(error)
        return None


def _state(folder: JobFolder) -> str | None:
    """How the run in `folder` ended; None where there is none."""
    try:
        return read_run(folder.path).status
    except FedlabError:
        return None


def _process(plan: Plan, folder: JobFolder, cwd: pathlib.Path) -> int:
    """Runs the job in a process of its own, which prints into log.txt; returns its exit code."""
    environment = dict(os.environ)
    if plan.cores:
        environment.update({cores.VARIABLE: str(plan.cores), "OMP_NUM_THREADS": str(plan.cores)})
    command = job_command(folder.path, plan.trusted)
    with open(folder.log, "ab", opener=private) as log:
        # in a session of its own: Ctrl-C in a terminal reaches the leader alone, which passes it on once
        child = subprocess.Popen(
            command, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    told = False
    with _passing_on_signals(plan, child):
        while True:
            try:
                return child.wait(_LOOK_SECONDS)
            except subprocess.TimeoutExpired:
                stop = sweep_stop.asked(SweepFolder(plan.folder)) or (signal.SIGTERM if _abandoned(plan) else None)
                if stop and not told:
                    child.send_signal(sweep_stop.for_jobs(stop))
                    told = True


@contextlib.contextmanager
def _passing_on_signals(plan: Plan, child: subprocess.Popen) -> Iterator[None]:
    """In a launcher's worker: a terminal's signals are left to the leader; SIGTERM, as a cluster sends it, goes to the job."""
    if os.getpid() == plan.pid or threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {
        signal.SIGINT: signal.signal(signal.SIGINT, signal.SIG_IGN),
        signal.SIGHUP: signal.signal(signal.SIGHUP, signal.SIG_IGN),
        signal.SIGTERM: signal.signal(signal.SIGTERM, lambda number, frame: child.send_signal(number)),
    }
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _abandoned(plan: Plan) -> bool:
    """Whether this is a worker whose leader, its parent process, is gone."""
    return plan.launched_here and os.getpid() != plan.pid and os.getppid() != plan.pid


def _failure(folder: JobFolder, code: int) -> str:
    """Why the process ended with `code`, in one line."""
    if code < 0:
        return f"its process was ended by {signal.Signals(-code).name}" + (
            ", as the kernel does when memory runs out." if code == -signal.SIGKILL else "."
        )
    with contextlib.suppress(FedlabError):
        manifest = read_run(folder.path).manifest
        if manifest["status"] == "failed" and manifest["failure"]:
            return manifest["failure"]
    lines = [line for line in folder.log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1].removeprefix("fedlab train: ") if lines else f"its process ended with code {code}."


def _say(plan: Plan, line: str) -> None:
    if not plan.quiet:
        print(line, flush=True)
