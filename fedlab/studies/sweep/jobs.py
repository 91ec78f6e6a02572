"""One job of a sweep, in the process that a launcher chose: prepares its folder, starts its process, waits.

The run itself has a process of its own. So jobs share no TensorFlow state, a crash affects one job only, and every launcher
gives the same results.
"""

from __future__ import annotations

import contextlib
import copy
import os
import pathlib
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fedlab import cores, stopping
from fedlab.archive import make_folder, read_run
from fedlab.archive.task import learned_in
from fedlab.config import composing as configuration
from fedlab.errors import FedlabError
from fedlab.run import locations
from fedlab.run.child import JobFolder, JobRecord, running
from fedlab.studies.sweep import stop as sweep_stop
from fedlab.studies.sweep.folder import SweepFolder
from fedlab.studies.sweep.gather import goal_in, objective_of, write_table
from fedlab.studies.sweep.names import figures, short_names, shown_value
from fedlab.studies.sweep.plan import SweepPlan, but_for_locations, job_folder, job_parameters
from fedlab.studies.sweep.plan import job_command as typed_command
from fedlab.studies.sweep.stop import Stopping

_STOPPED = {code for number in stopping.SIGNALS for code in (128 + number, -number)}  # exit codes
_LOOK_SECONDS = 0.2
_DOING = {"interrupted": "goes on", "finished": "has finished; its files lie elsewhere now, and are compared"}


def run_job(plan: SweepPlan, config: DictConfig) -> float | list[float] | None:
    """Runs the task that Hydra gives to a launcher. Returns the objective, or None, which Optuna counts as a failure."""
    leads = os.getpid() == plan.pid
    Stopping.waiting_here = leads
    try:
        folder = SweepFolder(plan.folder)
        values = _over_seeds(plan, config, folder)
        stop = sweep_stop.asked(folder)
        if leads and stop:
            stopping.stop(stop)
        if _abandoned(plan):
            os._exit(1)  # the sweep was killed: this worker must not begin another job
    finally:
        Stopping.waiting_here = False
    return values[0] if values and len(values) == 1 else values


def _over_seeds(plan: SweepPlan, config: DictConfig, folder: SweepFolder) -> list[float] | None:
    """Runs the job with each of its seeds; returns the mean objective, or None unless all have one."""
    values: list[list[float] | None] = []
    for repeat in range(plan.objective.seeds):
        if sweep_stop.asked(folder) or _abandoned(plan):
            return None
        values.append(_run(plan, config, folder, repeat))
    return plan.objective.over_seeds(values)[0]


def _run(plan: SweepPlan, config: DictConfig, sweep: SweepFolder, repeat: int) -> list[float] | None:
    """Runs one job and reports its begin and end; returns its objective. `repeat`: added to its seed."""
    folder, record, wrong = _prepared(plan, config, repeat)
    before, state, label = folder.read(), folder.status, _label(plan, record)
    elsewhere = state == "finished" and locations.have_moved(read_run(folder.path).config, record.config)
    if state == "finished" and not elsewhere:
        record.status, happened = "finished", "had finished before"
    elif before and before.status == "failed" and before.invocation == plan.invocation:  # Optuna may repeat parameters
        record.status, record.failure, happened = "failed", before.failure, "had failed already"
    else:
        plan.lines.progress(f"{label}: {_DOING.get(str(state), 'starts')}")
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
        plan.lines.progress(f"{label}: {happened}, " + _figures(plan, folder, values))
    elif record.failure:
        plan.lines.problem(f"{label}: {happened}: {record.failure}")
    else:
        plan.lines.progress(f"{label}: {happened}")
    return values


def _prepared(plan: SweepPlan, config: DictConfig, repeat: int) -> tuple[JobFolder, JobRecord, str | None]:
    """Returns the job's folder, which may not exist yet, its record, and the error of an invalid configuration."""
    settings = HydraConfig.get()
    overrides, wrong = list(settings.overrides.task), None
    if plan.objective.seeds > 1:
        config = copy.deepcopy(config)
        config.seed += repeat
        overrides = [*(o for o in overrides if o.partition("=")[0] != "seed"), f"seed={config.seed}"]
    try:
        plain: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
        plain = locations.absolute(plain)
    except OmegaConfBaseException as error:
        plain, wrong = OmegaConf.to_container(config, resolve=False), configuration.why(error, overrides)
    plain.pop(configuration.EXPECTED, None)
    parameters = job_parameters(plan, overrides)
    folder = _folder(plan, parameters, plain)
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


def _folder(plan: SweepPlan, parameters: dict[str, Any], config: dict[str, Any]) -> JobFolder:
    """Returns the folder of this configuration; else one whose configuration differs in the locations of files only."""
    folder = JobFolder(job_folder(plan.folder, parameters, config))
    if folder.record.is_file():
        return folder
    for other, record in SweepFolder(plan.folder).jobs():
        if record.parameters == parameters and but_for_locations(record.config) == but_for_locations(config):
            return other
    return folder


def _label(plan: SweepPlan, record: JobRecord) -> str:
    short = short_names(record.parameters)
    words = [f"{short[key]}={shown_value(value)}" for key, value in record.parameters.items()]
    of = f" of {plan.total}" if plan.total and record.number <= plan.total else ""
    return "  ".join([f"job {record.number}{of}", *words])


def _values(plan: SweepPlan, folder: JobFolder, record: JobRecord) -> list[float] | None:
    """Returns the objective of a finished run; None without one, with the reason in `record`."""
    if record.status != "finished":
        return None
    try:
        return objective_of(plan, read_run(folder.path))
    except FedlabError as error:
        record.failure = str(error)
        return None


def _figures(plan: SweepPlan, folder: JobFolder, values: Sequence[float]) -> str:
    """Formats the objective of a finished run."""
    task = learned_in(folder)
    return figures(goal_in(plan).metrics, values, task)


def _process(plan: SweepPlan, folder: JobFolder, cwd: pathlib.Path) -> int:
    """Runs the job in a process of its own, which prints to log.txt; returns its exit code."""
    environment = {name: value for name, value in os.environ.items() if name != "HYDRA_FULL_ERROR"}
    if plan.full_error is not None:
        environment["HYDRA_FULL_ERROR"] = plan.full_error
    if plan.cores:
        environment.update(cores.limiting(plan.cores))
    told = False
    with running(folder, plan.trusted, cwd, environment) as child, _passing_on_signals(plan, child):
        while True:
            try:
                return child.wait(_LOOK_SECONDS)
            except subprocess.TimeoutExpired:
                stop = sweep_stop.asked(SweepFolder(plan.folder)) or (signal.SIGTERM if _abandoned(plan) else None)
                if stop and not told:
                    child.send_signal(sweep_stop.for_jobs(stop))
                    told = True


@contextlib.contextmanager
def _passing_on_signals(plan: SweepPlan, child: subprocess.Popen) -> Iterator[None]:
    """Makes a launcher's worker ignore signals of the terminal, which the leader handles, and pass SIGTERM on to the job."""
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


def _abandoned(plan: SweepPlan) -> bool:
    """Returns whether this is a worker whose leader, its parent process, is gone."""
    return plan.launched_here and os.getpid() != plan.pid and os.getppid() != plan.pid


def _failure(folder: JobFolder, code: int) -> str:
    """Explains the exit `code` of the process in one line."""
    if code < 0:
        return f"its process was ended by {signal.Signals(-code).name}" + (
            ", as the kernel does when memory runs out." if code == -signal.SIGKILL else "."
        )
    with contextlib.suppress(FedlabError):
        manifest = read_run(folder.path).manifest
        if manifest["status"] == "failed" and manifest["failure"]:
            return manifest["failure"]
    return folder.last_line() or f"its process ended with code {code}."
