"""One run, from a validated experiment to a folder that tells how it ended."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import resource
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import yaml
from rich.console import Console

from fedlab.archive import Run, RunFolder, inventory, manifest, noise_key, replacing
from fedlab.archive.folder import relative
from fedlab.archive.lock import RunLock
from fedlab.archive.manifest import Manifest
from fedlab.archive.metrics import Record, read_records
from fedlab.attacks import NoAttack
from fedlab.cli import recorded
from fedlab.cli.display import RoundDisplay
from fedlab.cli.trusting import FLAG
from fedlab.errors import ConfigError, DataError, FedlabError, one_line
from fedlab.randomness import Secret
from fedlab.run import environment
from fedlab.run.checkpointing import Beginning, where_to_go_on
from fedlab.run.experiment import Experiment
from fedlab.run.fingerprint import combined, data_fingerprint, partition_fingerprint
from fedlab.run.loggers import Csv, Guarded, Logger, LoggerSpec
from fedlab.run.privacy import needs_key
from fedlab.run.start import start_tensorflow
from fedlab.types import Dataset, Partition


@dataclasses.dataclass(frozen=True)
class Job:
    """What is to be run, and how it is written down."""

    experiment: Experiment
    config: dict[str, Any]  # the same, resolved, as plain values
    name: str
    command: str


@dataclasses.dataclass(frozen=True)
class Inputs:
    """What has been read, and the seconds it took."""

    dataset: Dataset
    partition: Partition
    arms: dict[str, tuple[Dataset, Partition]]  # of each arm, by its name: as a rule the same
    seconds: dict[str, float]

    def fingerprints(self) -> tuple[str, str]:
        """Of the data and of the partition, those of arms that have others included."""
        datasets, partitions = {id(self.dataset): self.dataset}, {id(self.partition): self.partition}
        for dataset, partition in self.arms.values():
            datasets[id(dataset)], partitions[id(partition)] = dataset, partition
        return combined(map(data_fingerprint, datasets.values())), combined(map(partition_fingerprint, partitions.values()))


def start(
    job: Job,
    claim: Callable[[], RunFolder],
    console: Console,
    extra: Sequence[Logger] = (),
) -> dict[str, Any]:
    """A new run in the folder that `claim` makes, once the data is there. Returns its summary.

    `extra`: loggers besides its own.
    """
    inputs = read(job.experiment, console)
    folder = claim()
    with replacing(folder.config) as partial:
        partial.write_text(f"# {job.command}\n{yaml.safe_dump(job.config, sort_keys=False, allow_unicode=True)}")
    with RunLock(folder.lock):
        try:
            secret = noise_key.create(folder.noise_key) if needs_key(job.experiment) else None
            return _run(job, inputs, folder, None, secret, console, extra)
        except ConfigError:  # nothing has been computed
            folder.discard()
            raise


def go_on(job: Job, run: Run, console: Console) -> dict[str, Any]:
    """Takes up `run`, whose lock the caller holds, where its newest checkpoint left it. Returns its summary."""
    secret = _secret_of(run, job.experiment)
    inputs = read(job.experiment, console)
    require_same_data(run, inputs)
    for line in environment.differences(run.manifest, environment.describe()):
        say(console, f"[yellow]not as when the run began: {line}[/yellow]")
    return _run(job, inputs, run.folder, run, secret, console, ())


def secrets_of(run: Run, experiment: Experiment) -> dict[str, Secret] | Secret | None:
    """From what `run`, or each of its arms, draws what ε rests on; None where that is its seed.

    Raises `FedlabError` where noise.key is gone.
    """
    return _for_arms(_secret_of(run, experiment), experiment, run.config)


def _for_arms(secret: Secret | None, experiment: Experiment, config: Mapping[str, Any]) -> dict[str, Secret] | Secret | None:
    return noise_key.secrets_of_arms(secret, config) if secret and experiment.arms else secret


def _secret_of(run: Run, experiment: Experiment) -> Secret | None:
    """From what `run` draws what its ε rests on; None where that is its seed. Raises `FedlabError` where noise.key is gone."""
    identity = run.manifest.get("noise_key")
    if identity:
        return noise_key.read(run.folder, identity)
    if needs_key(experiment):
        raise FedlabError(
            f"the manifest of {relative(run.path)} names no noise.key, from which its noise is drawn now: it began under an "
            "older fedlab, and can be neither resumed nor verified under this one."
        )
    return None


def read(experiment: Experiment, console: Console) -> Inputs:
    """Checks the experiment, reads its data and starts TensorFlow, in this order."""
    experiment.check()
    if experiment.engine.device == "gpu":  # whether there is one, only TensorFlow can tell
        start_tensorflow("gpu", experiment.clients_at_once)
    started = time.perf_counter()
    dataset, partition = experiment.load()
    arms = experiment.load_arms(dataset, partition)
    loaded = time.perf_counter()
    sizes = f"{len(dataset.train):,} training examples over {len(partition):,} clients, {len(dataset.test):,} test examples"
    say(console, f"{dataset.name}: {sizes}")
    start_tensorflow(experiment.engine.device, experiment.clients_at_once)
    return Inputs(dataset, partition, arms, {"data": loaded - started, "tensorflow": time.perf_counter() - loaded})


def require_whole(run: Run) -> None:
    """Raises `FedlabError` for a manifest that lacks what it takes to run it again."""
    kinds = {"config": dict, "data": dict, "partition": dict, "name": str, "reproducible": bool, "resumed": list}
    for name, kind in kinds.items():
        if not isinstance(run.manifest.get(name), kind):
            raise FedlabError(f"{run.folder.manifest} is damaged: '{name}' is missing from it, or not what it should be.")
    for part in ("data", "partition"):
        if "fingerprint" not in run.manifest[part]:
            raise FedlabError(f"{run.folder.manifest} is damaged: '{part}' has no fingerprint in it.")


def require_same_data(run: Run, inputs: Inputs) -> None:
    """Raises `DataError` unless the data and its partition are those that `run` had."""
    data, partition = inputs.fingerprints()
    for what, then, now in (
        ("data", run.manifest["data"]["fingerprint"], data),
        ("the partition", run.manifest["partition"]["fingerprint"], partition),
    ):
        if then != now:
            raise DataError(
                f"{what} of {relative(run.path)} ({inputs.dataset.name}) is not what it was: its fingerprint was {then[:12]}… "
                f"and is {now[:12]}… now."
            )


def _run(
    job: Job,
    inputs: Inputs,
    folder: RunFolder,
    resumed: Run | None,
    secret: Secret | None,
    console: Console,
    extra: Sequence[Logger],
) -> dict[str, Any]:
    """Trains in `folder`, whose lock is held, and keeps its manifest."""
    from fedlab.run.learners import build_learner
    from fedlab.run.train import train

    def open_loggers(records: Sequence[Record]) -> list[Logger]:
        csv = Guarded("csv", lambda: Csv(folder.metrics_csv, records))
        chosen = [Guarded(name, _opener(spec, folder, job, records)) for name, spec in job.experiment.logger.items()]
        display = [] if console.quiet else [RoundDisplay(learner.num_rounds, console)] if learner else []
        return [csv, *chosen, *display, *extra]

    beginning = where_to_go_on(folder) if resumed else Beginning(None, [])
    for remark in beginning.remarks:
        say(console, f"[yellow]{remark}[/yellow]")
    described = _taken_up(job, resumed, beginning) if resumed else _described(job, inputs, secret)
    if resumed:
        inventory.break_seal(folder)
    account = _Account(folder, described, inputs.seconds)
    say(console, f"run folder: {relative(folder.path)}" + (f", from round {beginning.round + 1}" if resumed else ""))
    learner = None
    try:
        secrets = _for_arms(secret, job.experiment, job.config)
        learner = build_learner(job.experiment, inputs.dataset, inputs.partition, inputs.arms, secrets)
        account.note(**learner.described())
        for line in learner.lines():
            say(console, line)
        summary = train(learner, inputs.dataset, folder, beginning, open_loggers)
        _require_updates(summary)
        began = time.perf_counter()
        summary = {**summary, **(attacked := _attacked(job.experiment, inputs, folder, console))}
        if attacked:
            learner.seconds["attack"] = time.perf_counter() - began
        account.close("finished", learner.seconds)
    except (KeyboardInterrupt, SystemExit):
        account.close("interrupted", learner.seconds if learner else {})
        say(console, f"to go on: {resume_command(folder, job)}")
        raise
    except BaseException as error:
        reason = _reason(error)
        with contextlib.suppress(OSError):  # of a full disk; the lock that nobody holds tells that the run has ended
            account.close("failed", learner.seconds if learner else {}, reason)
        if isinstance(error, (OSError, MemoryError)):
            raise FedlabError(f"{reason}. What was saved before is intact; to go on: {resume_command(folder, job)}") from error
        raise
    finally:
        if learner is not None:
            learner.close()
        if not isinstance(sys.exc_info()[1], ConfigError):  # of a run that never began there is nothing to tell
            _report(folder)
        _seal(folder)
    return summary


def _require_updates(summary: dict[str, Any]) -> None:
    """Raises `FedlabError` for a run, or one of its arms, in which no client's update was ever used."""
    for name, count in summary.items():
        arm, _, metric = name.rpartition("/")
        if metric == "rounds_without_clients" and count == summary["num_rounds"]:
            raise FedlabError(
                f"{f'arm {arm}: ' if arm else ''}no client's update was used in any of {count:,} rounds, so nothing was learned: "
                "cohorts were empty, or secure gave up on them: sample more clients per round, lower dropout, or add rounds."
            )


def _attacked(experiment: Experiment, inputs: Inputs, folder: RunFolder, console: Console) -> dict[str, Any]:
    """What the attacks that the run asks for add to its summary."""
    if all(isinstance(one.attack, NoAttack) for one in (experiment, *experiment.arms.values())):
        return {}
    from fedlab.run.attack import attack_run

    say(console, "Training finished. Running the attack …")
    return attack_run(experiment, (inputs.dataset, inputs.partition), inputs.arms, folder, just_trained=True)


def _report(folder: RunFolder) -> None:
    """Writes the page of a run that has ended; one that cannot be written costs a line, and never the run."""
    try:
        from fedlab.report.page import write_report  # takes a tenth of a second, and a run may never begin

        write_report(folder.path)
    except Exception as error:
        print(f"fedlab: the report of the run could not be written: {one_line(error)}", file=sys.stderr)


def _seal(folder: RunFolder) -> None:
    """Writes the inventory of a run that has ended, last; where that fails, readers say of a finished run that it is missing."""
    try:
        inventory.seal(folder)
    except OSError as error:
        print(f"fedlab: the inventory of the run could not be written: {error.strerror or error}", file=sys.stderr)


class _Account:
    """The manifest of a run in progress: how long its phases take and how it ends."""

    def __init__(self, folder: RunFolder, described: dict[str, Any], seconds: dict[str, float]):
        self._folder, self._started = folder, time.perf_counter() - sum(seconds.values())
        self._before, self._seconds = described.get("seconds", {}), seconds
        self._manifest = Manifest(folder.manifest, described)

    def note(self, **values: Any) -> None:
        self._manifest.update(**values)

    def close(self, status: str, seconds: dict[str, float], failure: str | None = None) -> None:
        mine = {**self._seconds, **seconds, "total": time.perf_counter() - self._started}
        phases = {name: round(self._before.get(name, 0.0) + value, 3) for name, value in mine.items()}
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB
        self._manifest.update(
            status=status,
            failure=failure,
            ended=manifest.now(),
            rounds_completed=len(read_records(self._folder.metrics)),
            seconds=phases,
            peak_memory_bytes=max(memory, self._manifest.values.get("peak_memory_bytes", 0)),
        )


def _described(job: Job, inputs: Inputs, secret: Secret | None) -> dict[str, Any]:
    """The manifest of a run that begins."""
    dataset, partition = inputs.dataset, inputs.partition
    sizes, (data, divided) = partition.sizes, inputs.fingerprints()
    return {
        "manifest_version": manifest.VERSION,
        "name": job.name,
        "status": "running",
        "failure": None,
        "command": job.command,
        "resumed": [],
        "config": job.config,
        "config_sha256": manifest.config_sha256(job.config),
        "seed": job.experiment.seed,
        "noise_key": secret.identity if secret else None,
        "reproducible": job.experiment.reproducible,
        "summation": "clients of a cohort in ascending order of their position in the partition",
        "num_rounds": job.experiment.num_rounds,
        "rounds_completed": 0,
        "started": manifest.now(),
        "ended": None,
        **environment.describe(),
        "data": {
            "name": dataset.name,
            "fingerprint": data,
            "train_examples": len(dataset.train),
            "test_examples": len(dataset.test),
            "num_classes": dataset.train.num_classes,
        },
        "partition": {
            "fingerprint": divided,
            "num_clients": len(partition),
            "examples_min": int(sizes.min()),
            "examples_median": float(np.median(sizes)),
            "examples_max": int(sizes.max()),
        },
        "seconds": {},
        "peak_memory_bytes": 0,
    }


def _taken_up(job: Job, run: Run, beginning: Beginning) -> dict[str, Any]:
    """The manifest of a run that goes on."""
    again = {"time": manifest.now(), "command": job.command, "from_round": beginning.round + 1}
    return {
        **run.manifest,
        "manifest_version": manifest.VERSION,
        "status": "running",
        "failure": None,
        "ended": None,
        "config": job.config,
        "num_rounds": job.experiment.num_rounds,
        "resumed": [*run.manifest["resumed"], again],
    }


def _opener(spec: LoggerSpec, folder: RunFolder, job: Job, records: Sequence[Record]) -> Callable[[], Logger]:
    return lambda: spec.open(folder, job.name, job.config, records)


def _reason(error: BaseException) -> str:
    """Why a run failed, in one line without a full stop."""
    if isinstance(error, FedlabError):
        return str(error)
    if isinstance(error, OSError):
        where = f" ({error.filename})" if error.filename else ""
        return f"{'the disk is full: ' if error.errno in (errno.ENOSPC, errno.EDQUOT) else ''}{error.strerror or error}{where}"
    return f"{type(error).__name__}: {one_line(error)}"


def say(console: Console, line: str) -> None:
    """Prints one line, whatever the width of the terminal."""
    console.print(line, highlight=False, soft_wrap=True)


def resume_command(folder: RunFolder, job: Job) -> str:
    """What to type to go on with a run."""
    trusted = f" {FLAG}" if recorded.findings(job.config) else ""  # one's own components are to be trusted once more
    return f"fedlab train {shlex.quote(f'resume={relative(folder.path)}')}{trusted}"
