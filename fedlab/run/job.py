"""Computes one run, from a validated experiment to a folder that records its end."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import pathlib
import resource
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import yaml

from fedlab import registry, trust
from fedlab.archive import Run, RunFolder, inventory, manifest, noise_key, replacing
from fedlab.archive.folder import relative
from fedlab.archive.lock import RunLock
from fedlab.archive.manifest import Manifest
from fedlab.archive.metrics import Record, Summary, read_records
from fedlab.errors import ConfigError, DataError, FedlabError, of_own_code, one_line
from fedlab.fingerprint import combined, data_fingerprint, partition_fingerprint
from fedlab.randomness import Secret
from fedlab.run import environment, locations, recorded, reporting, rules
from fedlab.run.checkpointing import Beginning, where_to_go_on
from fedlab.run.experiment import Experiment, task_of
from fedlab.run.inputs import load, load_arms, remarks
from fedlab.run.loggers import Csv, Guarded, Logger, LoggerSpec
from fedlab.run.privacy import needs_key
from fedlab.run.progress import Caution, Failure, Following, OnLine, nobody
from fedlab.run.promises import is_reproducible
from fedlab.run.reporting import Report
from fedlab.run.start import start_tensorflow
from fedlab.stopping import STOPS, Interruption
from fedlab.types import Dataset, Partition


@dataclasses.dataclass(frozen=True)
class Job:
    """The run to compute, and its description."""

    experiment: Experiment
    config: dict[str, Any]  # the same, resolved, as plain values
    name: str
    command: str


@dataclasses.dataclass(frozen=True)
class Inputs:
    """The data of a run, and the seconds spent on reading it."""

    dataset: Dataset
    partition: Partition
    arms: dict[str, tuple[Dataset, Partition]]  # of each arm, by its name: usually the same
    seconds: dict[str, float]

    def fingerprints(self) -> tuple[str, str]:
        """Returns the fingerprints of the data and of the partition, including those of arms with other data."""
        datasets, partitions = {id(self.dataset): self.dataset}, {id(self.partition): self.partition}
        for dataset, partition in self.arms.values():
            datasets[id(dataset)], partitions[id(partition)] = dataset, partition
        return combined(map(data_fingerprint, datasets.values())), combined(map(partition_fingerprint, partitions.values()))


@dataclasses.dataclass(frozen=True)
class Finished:
    """A run that has just been computed."""

    folder: RunFolder
    summary: Summary


def run(job: Job, folder: pathlib.Path | RunFolder, report: Report, on_line: OnLine, following: Following = nobody) -> Finished:
    """Computes a new run.

    `folder`: a path to create once the data is read; if another run has claimed it, PATH-2, PATH-3, …; or a folder that exists
    and has no run. If this process is killed at any point, the folder has no run, or one that can be resumed. `report`: draws
    and writes what the folder shows. `on_line` receives the run's lines; `following`: loggers in addition to the run's own.
    """
    job = dataclasses.replace(job, config=locations.absolute(job.config))
    inputs = read(job.experiment, on_line)
    described = _described(job, inputs)
    claimed = _claimed(folder, described)
    with RunLock(claimed.lock):
        try:
            secret = noise_key.create(claimed.noise_key) if needs_key(job.experiment) else None
            described["noise_key"] = secret.identity if secret else None
            return Finished(claimed, _trained(job, inputs, claimed, described, None, secret, report, on_line, following))
        except (ConfigError, noise_key.KeyThere):
            if not read_records(claimed.metrics):  # nothing has been computed
                claimed.discard()
            raise


def _claimed(folder: pathlib.Path | RunFolder, described: Mapping[str, Any]) -> RunFolder:
    """Returns the folder of a new run, which contains its manifest."""
    if not isinstance(folder, RunFolder):
        return RunFolder.create(folder, described)
    folder.claim(described)
    return folder


def go_on(job: Job, run: Run, report: Report, on_line: OnLine, following: Following = nobody) -> Summary:
    """Continues `run`, whose lock the caller has, from its newest checkpoint. Returns its summary."""
    secret = _secret_of(run, job.experiment, to_begin=run.has_computed_nothing)
    inputs = read(job.experiment, on_line)
    require_same_data(run, inputs, job.config)
    if secret is None and needs_key(job.experiment):
        noise_key.forget(run.folder)  # a key that the manifest does not name yet: nothing was drawn from it
        secret = noise_key.create(run.folder.noise_key)
    for line in environment.differences(run.manifest, {**environment.describe(), "own_code": recorded.own_code(job.config)}):
        on_line(Caution(f"not as when the run began: {line}"))
    beginning = where_to_go_on(run.folder)
    described = {**_taken_up(job, run, beginning), "noise_key": secret.identity if secret else None}
    return _trained(job, inputs, run.folder, described, beginning, secret, report, on_line, following)


def secrets_of(run: Run, experiment: Experiment) -> dict[str, Secret] | Secret | None:
    """Returns the secret of `run`, or of each of its arms, for the draws that ε relies on; None if these follow from the seed.

    Raises `FedlabError` if noise.key is missing.
    """
    return _for_arms(_secret_of(run, experiment), experiment, run.config)


def _for_arms(secret: Secret | None, experiment: Experiment, config: Mapping[str, Any]) -> dict[str, Secret] | Secret | None:
    return noise_key.secrets_of_arms(secret, config) if secret and experiment.arms else secret


def _secret_of(run: Run, experiment: Experiment, to_begin: bool = False) -> Secret | None:
    """Returns the secret of `run` for the draws that ε relies on; None if these follow from the seed.

    `to_begin`: the run has drawn nothing yet, and may get its key now. Raises `FedlabError` if noise.key is missing.
    """
    identity = run.manifest.get("noise_key")
    if identity:
        return noise_key.read(run.folder, identity)
    if needs_key(experiment) and not to_begin:
        raise FedlabError(
            f"the manifest of {relative(run.path)} names no noise.key, from which its noise is drawn now: it began under an "
            "older fedlab, and can be neither resumed nor verified under this one."
        )
    return None


def read(experiment: Experiment, on_line: OnLine) -> Inputs:
    """Checks the experiment, reads its data and starts TensorFlow, in this order."""
    rules.check(experiment)
    if experiment.engine.device == "gpu":  # only TensorFlow can find out whether there is one
        start_tensorflow("gpu", _clients_at_once(experiment))
    started = time.perf_counter()
    dataset, partition = load(experiment)
    arms = load_arms(experiment, dataset, partition)
    loaded = time.perf_counter()
    sizes = f"{len(dataset.train):,} training examples over {len(partition):,} clients, {len(dataset.test):,} test examples"
    unseen = f", {len(partition.unseen):,} clients never trained" if partition.unseen else ""
    on_line(f"{dataset.name}: {sizes}{unseen}")
    for remark in remarks(experiment.data, dataset):
        on_line(f"{dataset.name}: {remark}")
    start_tensorflow(experiment.engine.device, _clients_at_once(experiment))
    return Inputs(dataset, partition, arms, {"data": loaded - started, "tensorflow": time.perf_counter() - loaded})


def _clients_at_once(experiment: Experiment) -> int:
    """Returns the approximate number of clients to compute in parallel, one thread each, for dividing the cores."""
    if experiment.arms:
        return max(map(_clients_at_once, experiment.arms.values()))
    return experiment.cohort.usual_clients or experiment.partition.known_num_trained or 1_000


def require_whole(run: Run) -> None:
    """Raises `FedlabError` for a manifest without the entries needed to repeat the run."""
    kinds = {"config": dict, "data": dict, "partition": dict, "name": str, "reproducible": bool, "resumed": list}
    for name, kind in kinds.items():
        if not isinstance(run.manifest.get(name), kind):
            raise FedlabError(f"{run.folder.manifest} is damaged: '{name}' is missing from it, or not what it should be.")
    for part in ("data", "partition"):
        if "fingerprint" not in run.manifest[part]:
            raise FedlabError(f"{run.folder.manifest} is damaged: '{part}' has no fingerprint in it.")


def require_same_data(run: Run, inputs: Inputs, config: Mapping[str, Any]) -> None:
    """Raises `DataError` unless the data, its partition, and the files that `config` names are those of `run`."""
    locations.require_same(run.path, run.config, run.manifest.get("files"), config)
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


def _trained(
    job: Job,
    inputs: Inputs,
    folder: RunFolder,
    described: dict[str, Any],
    resumed: Beginning | None,
    secret: Secret | None,
    report: Report,
    on_line: OnLine,
    following: Following,
) -> Summary:
    """Trains in `folder`, whose lock the caller has, and updates its manifest, which starts as `described`."""
    from fedlab.run.learner import build_learner
    from fedlab.run.train import train

    def open_loggers(records: Sequence[Record]) -> list[Logger]:
        openers: dict[str, Callable[[], Logger]] = {"csv": lambda: Csv(folder.metrics_csv, records)}
        openers |= {name: _opener(spec, folder, job, records) for name, spec in job.experiment.logger.items()}
        guarded = [Guarded(name, opener, lambda line: on_line(Failure(line))) for name, opener in openers.items()]
        return [*guarded, *(following(learner.num_rounds) if learner else ())]

    beginning = resumed or Beginning(None, [])
    for remark in beginning.remarks:
        on_line(Caution(remark))
    with Interruption():  # a finished run has an inventory until it counts as running
        if resumed:
            inventory.break_seal(folder)
        account = _Account(folder, described, inputs.seconds)
    with replacing(folder.config) as partial:
        plain = yaml.safe_dump(job.config, sort_keys=False, allow_unicode=True)
        partial.write_text(f"# {described['command']}\n{plain}")
    on_line(f"run folder: {relative(folder.path)}" + (f", from round {beginning.round + 1}" if resumed else ""))
    learner, draws = None, True
    try:
        secrets = _for_arms(secret, job.experiment, job.config)
        began = time.perf_counter()
        learner = build_learner(job.experiment, inputs.dataset, inputs.partition, inputs.arms, secrets, folder.path)
        learner.seconds["building"] = max(0.0, time.perf_counter() - began - sum(learner.seconds.values()))
        account.note(**learner.described())
        for line in learner.lines():
            on_line(line)
        summary = train(learner, inputs.dataset, folder, beginning, open_loggers)
        _require_updates(summary)
        for study in registry.hooks("after_training"):
            figures = study(job.experiment, inputs, folder, on_line, learner.seconds)
            if figures:
                summary = {**summary, **figures}
                folder.write_summary(summary)
        draws = False  # pictures that fail here are not drawn a second time
        began = time.perf_counter()
        with Interruption():
            _draw(report, folder, job)
        learner.seconds["pictures"] = time.perf_counter() - began
        summary["seconds_total"] = account.seconds()
        folder.write_summary(summary)
        account.close("finished", learner.seconds)
    except STOPS:
        account.close("interrupted", learner.seconds if learner else {})
        on_line(f"to go on: {resume_command(folder, job)}")
        raise
    except BaseException as error:
        reason = _reason(error)
        with contextlib.suppress(OSError):  # the disk may be full; the released lock shows that the run has ended
            account.close("failed", learner.seconds if learner else {}, reason)
        if isinstance(error, (OSError, MemoryError)):
            raise FedlabError(f"{reason}. What was saved before is intact; to go on: {resume_command(folder, job)}") from error
        raise
    finally:
        try:
            if learner is not None:
                learner.close()
            if not isinstance(sys.exc_info()[1], ConfigError):  # a run that never began has nothing to report
                reporting.attempt(report, folder, draws, on_line)
        finally:
            with Interruption():  # also after a signal that ends the page
                _seal(folder, on_line)
    return summary


def _require_updates(summary: Summary) -> None:
    """Raises `FedlabError` for a run, or one of its arms, in which no client's update was ever used."""
    for name, count in summary.items():
        arm, _, metric = name.rpartition("/")
        if metric == "rounds_without_clients" and count == summary["num_rounds"]:
            raise FedlabError(
                f"{f'arm {arm}: ' if arm else ''}no client's update was used in any of {count:,} rounds, so nothing was learned: "
                "cohorts were empty, or secure gave up on them: sample more clients per round, lower dropout, or add rounds."
            )


def _draw(report: Report, folder: RunFolder, job: Job) -> None:
    """Draws the pictures of a run whose results are all in its folder. Raises `FedlabError`, or `OSError` for a full disk."""
    try:
        report.draw(folder)
    except (FedlabError, OSError, MemoryError):
        raise
    except Exception as error:
        why = f"{type(error).__name__}: {one_line(error)}"
        raise FedlabError(f"the pictures could not be drawn: {why}. To draw them again: {resume_command(folder, job)}") from error


def _seal(folder: RunFolder, on_line: OnLine) -> None:
    """Writes the inventory of a run that has ended, as the last file. Without it, readers report that a finished run lacks it."""
    try:
        inventory.seal(folder)
    except OSError as error:
        on_line(Failure(f"the inventory of the run could not be written: {error.strerror or error}"))


class _Account:
    """The manifest of a run in progress: the seconds of its phases, and its end."""

    def __init__(self, folder: RunFolder, described: dict[str, Any], seconds: dict[str, float]):
        self._folder, self._started = folder, time.perf_counter() - sum(seconds.values())
        self._before, self._seconds = described.get("seconds", {}), seconds
        self._manifest = Manifest(folder.manifest, described)
        self._total: float | None = None

    def seconds(self) -> float:
        """Returns the total seconds, including earlier parts of the run; the same at each call, for summary and manifest."""
        if self._total is None:
            self._total = round(self._before.get("total", 0.0) + time.perf_counter() - self._started, 3)
        return self._total

    def note(self, **values: Any) -> None:
        self._manifest.update(**values)

    def close(self, status: str, seconds: dict[str, float], failure: str | None = None) -> None:
        mine = {**self._seconds, **seconds}
        phases = {name: round(self._before.get(name, 0.0) + value, 3) for name, value in mine.items()}
        phases["total"] = self.seconds()
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB
        self._manifest.update(
            status=status,
            failure=failure,
            ended=manifest.now(),
            rounds_completed=len(read_records(self._folder.metrics)),
            seconds=phases,
            peak_memory_bytes=max(memory, self._manifest.values.get("peak_memory_bytes", 0)),
        )


def _described(job: Job, inputs: Inputs) -> dict[str, Any]:
    """Returns the manifest of a new run, without noise_key, which exists only once the folder does."""
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
        "code": recorded.code_folder(job.config),
        "own_code": recorded.own_code(job.config),
        "config_sha256": manifest.config_sha256(job.config),
        "seed": job.experiment.seed,
        "noise_key": None,
        "reproducible": is_reproducible(job.experiment),
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
            "num_classes": dataset.train.task.num_classes,
            "task": task_of(job.experiment, dataset, partition).described(),
            **({"columns": list(dataset.columns)} if dataset.columns else {}),
        },
        "files": locations.fingerprints(job.config),
        "partition": {
            "fingerprint": divided,
            "num_clients": len(partition),
            **({"num_unseen_clients": len(partition.unseen)} if partition.unseen else {}),
            "examples_min": int(sizes.min()),
            "examples_median": float(np.median(sizes)),
            "examples_max": int(sizes.max()),
        },
        "seconds": {},
        "peak_memory_bytes": 0,
    }


def _taken_up(job: Job, run: Run, beginning: Beginning) -> dict[str, Any]:
    """Returns the manifest of a run that continues."""
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
    """Returns the reason of a run's failure, in one line without a full stop."""
    if isinstance(error, FedlabError):
        return str(error)
    if isinstance(error, OSError):
        where = f" ({error.filename})" if error.filename else ""
        return f"{'the disk is full: ' if error.errno in (errno.ENOSPC, errno.EDQUOT) else ''}{error.strerror or error}{where}"
    return str(of_own_code(error) or f"{type(error).__name__}: {one_line(error)}").removesuffix(".")


def resume_command(folder: RunFolder, job: Job) -> str:
    """Returns the command that continues a run."""
    trusted = f" {trust.FLAG}" if recorded.findings(job.config) else ""  # the user must trust their own components again
    return f"fedlab train {shlex.quote(f'resume={relative(folder.path)}')}{trusted}"
