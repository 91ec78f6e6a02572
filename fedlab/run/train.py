"""The life of a run: rounds, final figures, and what is left in the folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fedlab.archive import RunFolder, replacing
from fedlab.archive.clients import write_corruption, write_labels
from fedlab.archive.metrics import MetricsFile, Record
from fedlab.partition import label_counts
from fedlab.run.checkpointing import Beginning, Checkpoints
from fedlab.run.interrupt import Interruption
from fedlab.run.learner import Learner
from fedlab.run.loggers import Logger
from fedlab.types import Dataset, Partition

OpenLoggers = Callable[[Sequence[Record]], Sequence[Logger]]  # given the records of an earlier part of the run


def train(
    learner: Learner, dataset: Dataset, folder: RunFolder, beginning: Beginning, open_loggers: OpenLoggers
) -> dict[str, Any]:
    """Runs the experiment of `learner` from `beginning` to its end and returns its summary, which is also in the folder.

    A signal to stop is acted upon between rounds, when the state has been saved; one that comes later than the last round,
    once the run is complete.
    """
    started = time.perf_counter()
    experiment, partition = learner.experiment, learner.partition
    records = [r if r["round"] == learner.num_rounds else _not_the_last(r, learner) for r in beginning.records]
    if beginning.checkpoint:
        learner.restore(beginning.checkpoint.state)
    checkpoints = Checkpoints(experiment.checkpoint, folder, beginning.round, learner.seconds)
    with Interruption() as interruption:
        counts = label_counts(dataset.train.y, partition, dataset.train.num_classes)
        write_labels(folder.labels, partition.client_ids, counts)
        affected = experiment.corruption.affected(dataset, partition, experiment.seed)
        if affected:
            write_corruption(folder.corruption, affected)
        metrics = MetricsFile(folder.metrics, records)
        loggers = open_loggers(records)
        state = learner.state  # that of the last round which has its line in metrics.jsonl
        try:
            for record in learner.rounds(beginning.round + 1):
                learner.keep(folder, record["round"])
                metrics.append(record)
                records.append(record)
                state = learner.state
                for logger in loggers:
                    logger.log(record)
                if record["round"] == beginning.round + 1:  # nobody waits for the picture before there is a first result
                    _draw_partition(folder, dataset.name, partition, counts)
                if checkpoints.is_due(len(records)):
                    metrics.sync()
                    checkpoints.save(len(records), state)
                if len(records) < learner.num_rounds:
                    interruption.check()
            metrics.sync()
            checkpoints.save(len(records), state)
        except (KeyboardInterrupt, SystemExit):
            if records:
                metrics.sync()
                checkpoints.save(len(records), state)
            raise
        finally:
            metrics.close()
            for logger in loggers:
                logger.close()
        final = learner.finish(folder)
        _draw_curves(folder, records)
        summary = {
            "num_rounds": learner.num_rounds,
            "num_clients": len(partition),
            "num_weights": learner.num_weights,
            "seconds_total": round(time.perf_counter() - started, 3),
            **_totals(records),
            "non_finite_clients_total": sum(map(_non_finite_clients, records)),
            "weights_hash": records[-1]["weights_hash"],
            **final,
        }
        folder.write_summary(summary)
    return summary


def _draw_partition(folder: RunFolder, name: str, partition: Partition, counts: np.ndarray) -> None:
    from fedlab.report.partition_plot import plot_partition  # matplotlib takes half a second to import

    with replacing(folder.partition) as partial:
        plot_partition(counts, partial, f"{name}: {len(partition):,} clients", partition.client_ids)


def _draw_curves(folder: RunFolder, records: Sequence[Record]) -> None:
    from fedlab.report.curves import plot_curves

    with replacing(folder.curves) as partial:
        plot_curves(records, partial)


def _not_the_last(record: Record, learner: Learner) -> Record:
    """The record without the evaluation that a last round always gets, and would not have had in the midst of a run."""
    return {name: value for name, value in record.items() if learner.is_due(name, record["round"])}


def _non_finite_clients(record: Record) -> int:
    """Of all arms together."""
    return int(sum(value or 0 for name, value in record.items() if name.endswith("non_finite_clients")))


def _totals(records: Sequence[Record]) -> dict[str, float]:
    """Time, traffic, and rounds in which nobody's update was used, of the whole run and of each of its arms."""
    totals: dict[str, float] = {}
    for arm in [name[: -len("seconds")] for name in records[0] if name == "seconds" or name.endswith("/seconds")]:
        totals[f"{arm}seconds_per_round"] = _seconds_per_round(records, f"{arm}seconds")
        for way in ("bytes_down", "bytes_up"):
            totals[f"{arm}{way}_total"] = sum(r[f"{arm}{way}"] for r in records)
        totals[f"{arm}rounds_without_clients"] = sum(not r[f"{arm}num_clients"] for r in records)
    return totals


def _seconds_per_round(records: Sequence[Record], name: str) -> float:
    """The median over the rounds in which somebody computed, without the first, which compiles, where there are others."""
    computed = [r[name] for r in records if r["num_clients"]] or [r[name] for r in records]
    return float(np.median(computed[1:] or computed))
