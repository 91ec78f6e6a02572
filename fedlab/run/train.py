"""The life of a run: rounds, final figures, and what is left in the folder."""

from __future__ import annotations

import time
from typing import Any, Sequence

import numpy as np

from fedlab.partition import label_counts
from fedlab.report.curves import plot_curves
from fedlab.report.partition_plot import plot_partition
from fedlab.run.folder import RunFolder, replacing
from fedlab.run.interrupt import Interruption
from fedlab.run.learner import Learner
from fedlab.run.loggers import JsonLines, Logger, Record, TensorBoard
from fedlab.types import Dataset


def train(learner: Learner, dataset: Dataset, folder: RunFolder, loggers: Sequence[Logger]) -> dict[str, Any]:
    """Runs the experiment of `learner` to its end and returns its summary, which is also in the folder.

    A signal to stop is acted upon between rounds; one that comes later than the last of them, once the run is complete.
    """
    started = time.perf_counter()
    partition = learner.partition
    with Interruption() as interruption:
        with replacing(folder.partition) as partial:
            counts = label_counts(dataset.train.y, partition, dataset.train.num_classes)
            plot_partition(counts, partial, f"{dataset.name}: {len(partition):,} clients", partition.client_ids)
        all_loggers: list[Logger] = [JsonLines(folder.metrics), TensorBoard(folder.tensorboard), *loggers]
        records = learner.run(all_loggers, interruption.check)
        final = learner.final_figures()
        learner.save(folder)
        with replacing(folder.curves) as partial:
            plot_curves(records, partial)
        summary = {
            "num_rounds": learner.experiment.num_rounds,
            "num_clients": len(partition),
            "num_weights": learner.num_weights,
            "seconds_total": round(time.perf_counter() - started, 3),
            "seconds_per_round": _seconds_per_round(records),
            "bytes_down_total": sum(r["bytes_down"] for r in records),
            "bytes_up_total": sum(r["bytes_up"] for r in records),
            "non_finite_clients_total": int(sum(r.get("non_finite_clients", 0) for r in records)),
            **final,
        }
        folder.write_summary(summary)
    return summary


def _seconds_per_round(records: Sequence[Record]) -> float:
    """The median over the rounds in which somebody computed, without the first, which compiles, where there are others."""
    computed = [r["seconds"] for r in records if r["num_clients"]] or [r["seconds"] for r in records]
    return float(np.median(computed[1:] or computed))
