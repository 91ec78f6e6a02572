"""Seconds per round and memory of a federated GAN: fedlab's engines against a loop with no framework.

Every contender trains the same networks from the same weights on the same clients, with six steps of the discriminator on each of
ten clients, gradient penalty included, and six of the generator. They are measured in turn (A B C A B C …), each time in a new
process, with two rounds to warm up. Ratios compare medians within one turn; CPU seconds say more where other processes disturb.
What noise each meets is its own, so what is compared of the work is its amount, and how far the weights move.
"""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from bench.harness import OUT, Record, Suite, gigabytes, ratios_of_medians, spelled, usual_figures
from bench.measure import Measurement

SCRIPT = str(pathlib.Path(__file__).with_name("adversaries.py"))
SAME_DISTANCE = 1.25  # by what factor the distances that weights have moved may differ


class Gans(Suite):
    """Rounds of a federated GAN."""

    workloads = {
        "G1": ("model=gan_small, 10 clients × 6 steps of 32", 10),
        "G2": ("model=gan_published, 10 clients × 6 steps of 32", 3),
    }
    ours = "fedlab_compiled"
    repeats: ClassVar[int] = 2
    columns = ("s/round", "min", "max", "÷ compiled", "min", "max", "CPU s", "memory")

    def contenders(self, workload: str) -> Mapping[str, str]:
        return {  # functions of adversaries.py
            "fedlab_compiled": "fedlab engine=compiled",
            "plain_tensorflow": "plain TensorFlow loop",
            "fedlab_tff": "the same process, engine=tff",
            "fedlab_tff_without_onednn": "engine=tff without oneDNN",
        }

    def command(self, contender: str, workload: str, data: str, num_rounds: int, folder: pathlib.Path) -> list[str]:
        return [sys.executable, SCRIPT, contender, workload, data, str(num_rounds), str(folder / OUT)]

    def record(self, contender: str, measurement: Measurement, folder: pathlib.Path) -> Record:
        with np.load(folder / OUT) as saved:
            times = {key: saved[key].tolist() for key in ("seconds", "cpu_seconds")}
            return {**times, "moved": float(saved["moved"]), "num_weights": int(saved["num_weights"])}

    def summarize(self, runs: Mapping[str, list[Record]]) -> Record:
        contenders = {name: usual_figures(records) for name, records in runs.items()}
        moved = [r["moved"] for records in runs.values() for r in records]
        sizes = {r["num_weights"] for records in runs.values() for r in records}
        same_work = len(sizes) == 1 and all(0 < m < SAME_DISTANCE * min(moved) for m in moved)
        ratios = ratios_of_medians(runs, self.ours) if same_work else None
        return {"contenders": contenders, "same_work": same_work, "ratios": ratios}

    def row(self, figures: Record, ratio: Record | None) -> list[str]:
        return [
            *spelled(figures["seconds_per_round"], 3),
            *(spelled(ratio, 2) if ratio else [""] * 3),
            f"{figures['cpu_seconds_per_round']['median']:.2f}",
            gigabytes(figures["peak_memory_bytes"]),
        ]

    def notes(self, result: Record) -> list[str]:
        differ = "No ratios: the weights of one contender are not as many, or have not moved as far, as another's."
        return [] if result["same_work"] else [differ]


SUITE = Gans()
