"""Several learners as one: the arms of a run, which go through its rounds in lockstep."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from fedlab.archive import RunFolder
from fedlab.archive.metrics import Record
from fedlab.difftest import Difftest
from fedlab.errors import ConfigError, FedlabError
from fedlab.report.composition import added_up
from fedlab.run.difftest import ArmComparer
from fedlab.run.experiment import Experiment, of_arm
from fedlab.run.learner import Learner, weights_hash
from fedlab.types import Dataset, Partition


class Arms(Learner):
    """Every arm computes a round before any begins the next.

    What an arm measures is named `ARM/NAME`, what it leaves is in arms/ARM. Arms that have data, partition, cohorts and seed in
    common, which is the rule, see the same clients with the same examples in the same order; but for cohorts on which an ε rests,
    which each arm draws for itself, as it does its noise (`fedlab.archive.noise_key.secrets_of_arms`).
    """

    def __init__(
        self, experiment: Experiment, dataset: Dataset, partition: Partition, builders: Mapping[str, Callable[[], Learner]]
    ):
        super().__init__(experiment, dataset, partition)
        self.arms: dict[str, Learner] = {}
        with contextlib.ExitStack() as stack:
            for name, build in builders.items():
                with of_arm(name):
                    self.arms[name] = build()
                stack.callback(self.arms[name].close)
            self.num_rounds = _agreed({name: arm.num_rounds for name, arm in self.arms.items()})
            stack.pop_all()
        self.num_weights = sum(arm.num_weights for arm in self.arms.values())
        self.seconds = {}
        self._add_up_seconds()
        self._comparer = None
        if isinstance(experiment.difftest, Difftest):
            self._comparer = ArmComparer(experiment.difftest, self.arms, experiment.seed, self.num_rounds, self.seconds)

    @property
    def state(self) -> list:
        return [tensor for arm in self.arms.values() for tensor in arm.state]

    def restore(self, state: Sequence[np.ndarray]) -> None:
        if len(state) != len(self.state):
            raise FedlabError("the checkpoint belongs to other arms than this run's.")
        begin = 0
        for arm in self.arms.values():
            end = begin + len(arm.state)
            arm.restore(state[begin:end])
            begin = end

    def rounds(self, first: int) -> Iterator[Record]:
        for records in zip(*(_named_rounds(name, arm, first) for name, arm in self.arms.items())):
            self._add_up_seconds()
            record = _together(dict(zip(self.arms, records)))
            if self._comparer:
                record.update(self._comparer.after_round(record["round"]))
            yield record

    def is_measured(self, metric: str) -> bool:
        name, _, own = metric.partition("/")
        return name in self.arms and self.arms[name].is_measured(own)

    def is_due(self, metric: str, round_num: int) -> bool:
        if self._comparer and metric.startswith("difftest_"):
            return self._comparer.is_due(round_num)
        return super().is_due(metric, round_num)

    def keep(self, folder: RunFolder, round_num: int) -> None:
        if self._comparer:
            self._comparer.keep(folder, round_num)
        for name, arm in self.arms.items():
            arm.keep(folder.arm(name), round_num)

    def finish(self, folder: RunFolder) -> dict[str, Any]:
        figures = {}
        for name, arm in self.arms.items():
            found = {"num_weights": arm.num_weights, **arm.finish(folder.arm(name))}
            figures.update({f"{name}/{metric}": value for metric, value in found.items()})
        self._add_up_seconds()
        return {**figures, **self._comparer.finish(folder)} if self._comparer else figures

    def lines(self) -> list[str]:
        compared = self._comparer.lines() if self._comparer else []
        total = added_up([arm.claim() for arm in self.arms.values()])
        return [*(f"{n}: {line}" for n, arm in self.arms.items() for line in arm.lines()), *([total] if total else []), *compared]

    def described(self) -> dict[str, Any]:
        return {"arms": {name: arm.described() for name, arm in self.arms.items()}}

    def close(self) -> None:
        if self._comparer:
            self._comparer.close()
        for arm in self.arms.values():
            arm.close()

    def _add_up_seconds(self) -> None:
        """Each phase takes what it takes in all arms together."""
        phases = dict.fromkeys(phase for arm in self.arms.values() for phase in arm.seconds)
        self.seconds.update({phase: sum(arm.seconds.get(phase, 0.0) for arm in self.arms.values()) for phase in phases})


def _together(records: Mapping[str, Record]) -> Record:
    """The record of a round: totals over the arms, and what each measured under its name."""
    each = list(records.values())
    return {
        "round": each[0]["round"],
        "seconds": round(sum(r["seconds"] for r in each), 6),
        "num_clients": max(r["num_clients"] for r in each),  # as a rule the same ones in every arm
        "num_dropped": max(r["num_dropped"] for r in each),
        "bytes_down": sum(r["bytes_down"] for r in each),
        "bytes_up": sum(r["bytes_up"] for r in each),
        "weights_hash": weights_hash([np.frombuffer(r["weights_hash"].encode(), np.uint8) for r in each]),
        **{f"{name}/{metric}": value for name, r in records.items() for metric, value in r.items() if metric != "round"},
    }


def _named_rounds(name: str, arm: Learner, first: int) -> Iterator[Record]:
    with of_arm(name):
        yield from arm.rounds(first)


def _agreed(num_rounds: Mapping[str, int]) -> int:
    """Raises `ConfigError` unless it is the same number in every arm."""
    if len(set(num_rounds.values())) > 1:
        counts = ", ".join(f"{name}: {n:,}" for name, n in num_rounds.items())
        raise ConfigError(f"arms go through the same rounds, but their privacy budgets last for different ones ({counts}).")
    return next(iter(num_rounds.values()))
