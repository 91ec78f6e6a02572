"""Compares two arms of a run, client by client, during the run."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from fedlab.archive import RunFolder
from fedlab.errors import ConfigError
from fedlab.run.learner import Learner
from fedlab.studies.difftest.client_tests import ClientOutputs, compare, sampled_scores
from fedlab.studies.difftest.options import Difftest
from fedlab.studies.difftest.record import DifftestFile, differences_file, read_differences, scores_file, write_scores
from fedlab.studies.difftest.verdict import DIFFERENT, UNDECIDED, Differences, latest


class ArmComparer:
    """Compares the arms that `spec` names on every client's own examples (its holdout set, else its training set), or on the
    test set.

    Each arm uses these examples as its own stages return them; the classes must be equal. Raises `ConfigError` for arms whose
    clients or examples differ, or that do not classify.
    """

    metrics = ("difftest_",)

    def __init__(self, spec: Difftest, arms: Mapping[str, Learner], seed: int, num_rounds: int, seconds: dict[str, float]):
        """Stores the arguments. Later calls update `seconds["difftest"]`."""
        self._spec, self._seed, self._num_rounds, self._seconds = spec, seed, num_rounds, seconds
        self.names = spec.arms or tuple(arms)[:2]
        self._a, self._b = (arms[name] for name in self.names)
        for name in self.names:
            if type(arms[name]).client_predictions is Learner.client_predictions:
                raise ConfigError(f"difftest compares classifiers, and arm {name} trains none: choose others in difftest.arms.")
        self._check_examples()
        self._outputs: list[ClientOutputs] = []
        self._newest: Differences | None = None
        self._file: DifftestFile | None = None

    def _check_examples(self) -> None:
        """Raises `ConfigError` if the arms do not have the same examples."""
        a, b = self.names
        if self._spec.data == "test":
            if not np.array_equal(self._a.dataset.test.y, self._b.dataset.test.y):
                raise ConfigError(f"difftest: arms {a} and {b} do not have the same test set: they need the same data.")
            return
        own, other = self._a.partition.evaluated, self._b.partition.evaluated
        same = len(own) == len(other) and all(map(np.array_equal, own.indices, other.indices))
        if not same or not np.array_equal(self._a.dataset.train.y, self._b.dataset.train.y):
            raise ConfigError(
                f"difftest: arms {a} and {b} do not have the same examples of the same classes on the "
                "same clients: they need the same data, partition and evaluation.holdout; a corruption may change images only."
            )

    def _predicted(self) -> list[ClientOutputs]:
        """Returns the outputs of both arms for the examples of each client, or for the test set."""
        if self._spec.data == "test":
            return [ClientOutputs("test set", self._a.dataset.test.y, self._a.test_predictions(), self._b.test_predictions())]
        own, labels = self._a.partition.evaluated, self._a.dataset.train.y
        each = zip(own.client_ids, own.indices, self._a.client_predictions(), self._b.client_predictions())
        return [ClientOutputs(client, labels[mine], a, b) for client, mine, a, b in each]

    def is_due(self, round_num: int) -> bool:
        """Returns whether the arms are compared after this round even if it is not the last."""
        return round_num % self._spec.every == 0

    def after_round(self, round_num: int) -> dict[str, float]:
        """Compares the arms if a comparison is due; returns metrics for the record."""
        self._newest = None
        if not self.is_due(round_num) and round_num != self._num_rounds:
            return {}
        started = time.perf_counter()
        self._outputs = self._predicted()
        self._newest = compare(self._spec, self._outputs, round_num, self._seed)
        self._seconds["difftest"] = self._seconds.get("difftest", 0.0) + time.perf_counter() - started
        return self._newest.figures()

    def keep(self, folder: RunFolder, round_num: int) -> None:
        """Writes the newest comparison. The rows are on disk before the record of the round is written."""
        if self._file is None:  # keep only the earlier rows that an uninterrupted run would have
            earlier = [r for r in read_differences(differences_file(folder)) if r.round < round_num and self.is_due(r.round)]
            self._file = DifftestFile(differences_file(folder), earlier)
        if self._newest:
            self._file.append(self._newest.rows)
            self._file.sync()
            if self._spec.scores:
                write_scores(scores_file(folder), *sampled_scores(self._outputs, self._spec.scores, self._seed))

    def finish(self, folder: RunFolder) -> dict[str, Any]:
        """Returns the metrics of the last comparison for summary.json."""
        differences = latest(read_differences(differences_file(folder)))
        assert differences is not None
        return {
            **differences.figures(),
            **differences.tests(),
            "difftest_verdict": differences.verdict,
            "difftest_told": differences.told(*self.names),
            "difftest_different": differences.named(DIFFERENT),
            "difftest_undecided": differences.named(UNDECIDED),
            "difftest_worse": differences.worse,
        }

    def lines(self) -> list[str]:
        """Returns the lines to print before the first round."""
        where = "the test set" if self._spec.data == "test" else "every client's own examples"
        return [f"difftest: {self.names[1]} against {self.names[0]} on {where}"]

    def close(self) -> None:
        if self._file:
            self._file.close()
