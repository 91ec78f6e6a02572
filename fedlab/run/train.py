"""Computes a run: its rounds, final metrics, and the files in its folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from fedlab.archive import RunFolder
from fedlab.archive.clients import write_corruption, write_labels
from fedlab.archive.figures import rounds_to_targets
from fedlab.archive.metrics import MetricsFile, Record, Summary
from fedlab.archive.task import described
from fedlab.errors import FedlabError
from fedlab.partition import label_counts
from fedlab.run.checkpointing import Beginning, Checkpoints
from fedlab.run.early_stop import Watch
from fedlab.run.learner import Learner
from fedlab.run.loggers import Logger
from fedlab.run.rules import check_global_metrics
from fedlab.stopping import STOPS, Interruption
from fedlab.types import Dataset

OpenLoggers = Callable[[Sequence[Record]], Sequence[Logger]]  # given the records of an earlier part of the run


def train(learner: Learner, dataset: Dataset, folder: RunFolder, beginning: Beginning, open_loggers: OpenLoggers) -> Summary:
    """Runs the experiment of `learner` from `beginning` to its end and returns its summary, which is also in the folder.

    A signal to stop takes effect between rounds, once the state is saved; after the last round, once the run is complete.
    """
    experiment, partition = learner.experiment, learner.partition
    check_global_metrics(experiment, learner.is_measured)
    records = [r if r["round"] == learner.num_rounds else _not_the_last(r, learner) for r in beginning.records]
    if beginning.checkpoint:
        learner.restore(beginning.checkpoint.state)
        beginning.checkpoint.state.clear()  # large tensors are maps of the file, whose disk space they would keep
        _require_its_own(learner, beginning)
    ranked = learner.task((experiment.stop.metric or "").rpartition("/")[0])
    watch, stopped = Watch(experiment.stop, described(ranked.described())), None
    for record in records:
        stopped = watch.note(record) or stopped
    if stopped:
        learner.end_after(len(records))
    if beginning.round < learner.last_round:
        folder.summary.unlink(missing_ok=True)  # of an earlier part of the run: not of the rounds that follow
    checkpoints = Checkpoints(experiment.checkpoint, folder, beginning.round, learner.seconds)
    with Interruption() as interruption:
        if dataset.train.task.num_classes is not None:
            counts = label_counts(dataset.train.y, partition, dataset.train.num_classes)
            write_labels(folder.labels, partition.client_ids, counts)
        if dataset.affected:
            write_corruption(folder.corruption, dataset.affected)
        metrics = MetricsFile(folder.metrics, records)
        loggers = open_loggers(records)
        state = learner.state  # the state of the last round with a line in metrics.jsonl
        try:
            for record in learner.rounds(beginning.round + 1):
                learner.keep(folder, record["round"])
                metrics.append(record)
                records.append(record)
                state = learner.state
                for logger in loggers:
                    logger.log(record)
                if checkpoints.is_due(len(records)):
                    metrics.sync()
                    checkpoints.save(len(records), state)
                stopped = watch.note(record)
                if stopped:
                    learner.end_after(len(records))
                if len(records) < learner.last_round:
                    interruption.check()
            metrics.sync()
            checkpoints.save(len(records), state)
        except STOPS:
            if records:
                metrics.sync()
                checkpoints.save(len(records), state)
            raise
        finally:
            metrics.close()
            for logger in loggers:
                logger.close()
        final = learner.finish(folder)
        summary = {
            "num_rounds": learner.last_round,
            **({"stopped": stopped} if stopped and learner.last_round < learner.num_rounds else {}),
            "num_clients": len(partition),
            "num_weights": learner.num_weights,
            **_totals(records),
            "non_finite_clients_total": sum(map(_non_finite_clients, records)),
            "weights_hash": records[-1]["weights_hash"],
            **_rounds_to(learner, records),
            **final,
        }
        folder.write_summary(summary)
    return summary


def _require_its_own(learner: Learner, beginning: Beginning) -> None:
    """Raises `FedlabError` unless the restored state of `learner` has the weights of its round."""
    recorded = beginning.records[-1].get("weights_hash", learner.weights_hash)
    if recorded != learner.weights_hash:
        raise FedlabError(
            f"the checkpoint of round {beginning.round} belongs to another run: its weights are {learner.weights_hash}, and "
            f"metrics.jsonl has {recorded} for this round. Restore it from a copy, or delete it to go on from an earlier round."
        )


def _not_the_last(record: Record, learner: Learner) -> Record:
    """Returns the record without the evaluation that only a last round gets."""
    return {name: value for name, value in record.items() if learner.is_due(name, record["round"])}


def _non_finite_clients(record: Record) -> int:
    """Returns the number over all arms."""
    return int(sum(value or 0 for name, value in record.items() if name.endswith("non_finite_clients")))


def _rounds_to(learner: Learner, records: Sequence[Record]) -> dict[str, float | None]:
    """Returns the number of rounds to each target (`evaluation.rounds_to`), of the run or of each of its arms."""
    experiment, found = learner.experiment, {}
    for arm in experiment.arms or [""]:
        task = described(learner.task(arm).described())
        found.update(rounds_to_targets(records, experiment.evaluation.rounds_to, task, arm))
    return found


def _totals(records: Sequence[Record]) -> dict[str, float]:
    """Returns time, traffic, and rounds without a used update, of the whole run and of each of its arms."""
    totals: dict[str, float] = {}
    for arm in [name[: -len("seconds")] for name in records[0] if name == "seconds" or name.endswith("/seconds")]:
        totals[f"{arm}seconds_per_round"] = _seconds_per_round(records, f"{arm}seconds")
        for way in ("bytes_down", "bytes_up"):
            totals[f"{arm}{way}_total"] = sum(r[f"{arm}{way}"] for r in records)
        if f"{arm}simulated_seconds" in records[0]:
            totals[f"{arm}simulated_seconds_total"] = sum(r[f"{arm}simulated_seconds"] for r in records)
        totals[f"{arm}rounds_without_clients"] = sum(not r[f"{arm}num_clients"] for r in records)
    return totals


def _seconds_per_round(records: Sequence[Record], name: str) -> float:
    """Returns the median over the rounds with clients, without the first, which includes compiling, if there are others."""
    computed = [r[name] for r in records if r["num_clients"]] or [r[name] for r in records]
    return float(np.median(computed[1:] or computed))
