"""Two arms of a run, compared client by client as it goes along."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from fedlab.archive import RunFolder
from fedlab.archive.difftest import DifftestFile, read_differences, write_scores
from fedlab.archive.verdict import DIFFERENT, UNDECIDED, Comparison, latest
from fedlab.difftest import Difftest
from fedlab.difftest.comparison import ClientOutputs, compare, sampled_scores
from fedlab.errors import ConfigError
from fedlab.run.learner import Learner


class ArmComparer:
    """Compares the arms that `spec` names on every client's own examples: those held out, else those it trains on.

    Each arm sees these examples as its own stages give them; their classes must be the same. Raises `ConfigError` for arms that
    do not have the same clients with the same examples, or do not classify.
    """

    def __init__(self, spec: Difftest, arms: Mapping[str, Learner], seed: int, num_rounds: int, seconds: dict[str, float]):
        """`seconds["difftest"]` is kept up to date."""
        self._spec, self._seed, self._num_rounds, self._seconds = spec, seed, num_rounds, seconds
        self.names = spec.arms or tuple(arms)[:2]
        self._a, self._b = (arms[name] for name in self.names)
        for name in self.names:
            if type(arms[name]).client_probabilities is Learner.client_probabilities:
                raise ConfigError(f"difftest compares classifiers, and arm {name} trains none: choose others in difftest.arms.")
        own, other = self._a.partition.evaluated, self._b.partition.evaluated
        same = len(own) == len(other) and all(map(np.array_equal, own.indices, other.indices))
        if not same or not np.array_equal(self._a.dataset.train.y, self._b.dataset.train.y):
            raise ConfigError(
                f"difftest: arms {self.names[0]} and {self.names[1]} do not have the same examples of the same classes on the "
                "same clients: they need the same data, partition and evaluation.holdout; a corruption may change images only."
            )
        self._outputs: list[ClientOutputs] = []
        self._newest: Comparison | None = None
        self._file: DifftestFile | None = None

    def is_due(self, round_num: int) -> bool:
        """Whether this round is compared even where it is not the last."""
        return round_num % self._spec.every == 0

    def after_round(self, round_num: int) -> dict[str, float]:
        """Compares, where it is time to; returns figures for the record."""
        self._newest = None
        if not self.is_due(round_num) and round_num != self._num_rounds:
            return {}
        started = time.perf_counter()
        own, labels = self._a.partition.evaluated, self._a.dataset.train.y
        each = zip(own.client_ids, own.indices, self._a.client_probabilities(), self._b.client_probabilities())
        self._outputs = [ClientOutputs(client, labels[mine], a, b) for client, mine, a, b in each]
        self._newest = compare(self._spec, self._outputs, round_num, self._seed)
        self._seconds["difftest"] = self._seconds.get("difftest", 0.0) + time.perf_counter() - started
        return self._newest.figures()

    def keep(self, folder: RunFolder, round_num: int) -> None:
        """Writes what the last comparison gave; the rows are on disk before the record of the round is written."""
        if self._file is None:  # of an earlier part of the run remains what an uninterrupted run would have
            earlier = [r for r in read_differences(folder.difftest) if r.round < round_num and self.is_due(r.round)]
            self._file = DifftestFile(folder.difftest, earlier)
        if self._newest:
            self._file.append(self._newest.rows)
            self._file.sync()
            if self._spec.scores:
                write_scores(folder.difftest_scores, *sampled_scores(self._outputs, self._spec.scores, self._seed))

    def finish(self, folder: RunFolder) -> dict[str, Any]:
        """What the last comparison says, for summary.json."""
        comparison = latest(read_differences(folder.difftest))
        assert comparison is not None
        return {
            **comparison.figures(),
            "difftest_verdict": comparison.verdict,
            "difftest_told": comparison.told(*self.names),
            "difftest_different": comparison.named(DIFFERENT),
            "difftest_undecided": comparison.named(UNDECIDED),
            "difftest_worse": comparison.worse,
        }

    def lines(self) -> list[str]:
        """What a user should know before the first round."""
        return [f"difftest: {self.names[1]} against {self.names[0]} on every client's own examples"]

    def close(self) -> None:
        if self._file:
            self._file.close()
