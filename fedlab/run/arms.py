"""Combines several learners into one: the arms of a run, which compute each round in lockstep."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from fedlab import registry
from fedlab.archive import RunFolder
from fedlab.archive.metrics import Record
from fedlab.composition import added_up
from fedlab.errors import ConfigError, FedlabError
from fedlab.run.experiment import Experiment, of_arm
from fedlab.run.learner import Learner, weights_hash
from fedlab.tasks import Task
from fedlab.types import Dataset, Partition


class Observer(Protocol):
    """A study's observer of the arms after each round; `fedlab.registry.Hooks.observe_arms` returns it.

    It adds its seconds to the phases that it receives.
    """

    metrics: tuple[str, ...]  # prefixes of its metrics in records

    def is_due(self, round_num: int) -> bool:
        """Returns True if this round is observed even if it is not the last."""

    def after_round(self, round_num: int) -> dict[str, float]:
        """Returns metrics for the record of the round, {} if it is not due."""

    def keep(self, folder: RunFolder, round_num: int) -> None:
        """Writes the files of the round, before its record is written."""

    def finish(self, folder: RunFolder) -> dict[str, Any]:
        """Returns values for summary.json."""

    def lines(self) -> list[str]:
        """Returns notes for the user before the first round."""

    def close(self) -> None:
        """Releases its resources."""


class Arms(Learner):
    """Trains all arms; every arm computes a round before any arm begins the next.

    A metric of an arm is named `ARM/NAME`; the files of an arm are in arms/ARM. Arms that share data, partition, cohorts and
    seed, as is usual, use the same clients with the same examples in the same order; except that each arm draws its own noise,
    and its own cohorts if ε relies on them (`fedlab.archive.noise_key.secrets_of_arms`).
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
        observed = [make(experiment, self.arms, self.num_rounds, self.seconds) for make in registry.hooks("observe_arms")]
        self._observers: list[Observer] = [observer for observer in observed if observer is not None]

    def task(self, arm: str = "") -> Task:
        return self.arms[arm].task() if arm else super().task()

    @property
    def state(self) -> list:
        return [tensor for arm in self.arms.values() for tensor in arm.state]

    @property
    def weights_hash(self) -> str:
        return _hash_of([arm.weights_hash for arm in self.arms.values()])

    def restore(self, state: Sequence[np.ndarray]) -> None:
        if len(state) != len(self.state):
            raise FedlabError("the checkpoint belongs to other arms than this run's.")
        begin = 0
        for arm in self.arms.values():
            end = begin + len(arm.state)
            arm.restore(state[begin:end])
            begin = end

    def end_after(self, round_num: int) -> None:
        super().end_after(round_num)
        for arm in self.arms.values():
            arm.end_after(round_num)

    def rounds(self, first: int) -> Iterator[Record]:
        # One extra call per arm, since only then does an arm raise the error that its last round has diverged
        for records in itertools.zip_longest(*(_named_rounds(name, arm, first) for name, arm in self.arms.items())):
            self._add_up_seconds()
            record = _together(dict(zip(self.arms, records)))
            for observer in self._observers:
                record.update(observer.after_round(record["round"]))
            yield record

    def is_measured(self, metric: str) -> bool:
        name, _, own = metric.partition("/")
        return name in self.arms and self.arms[name].is_measured(own)

    def is_due(self, metric: str, round_num: int) -> bool:
        own = [observer for observer in self._observers if metric.startswith(observer.metrics)]
        return own[0].is_due(round_num) if own else super().is_due(metric, round_num)

    def keep(self, folder: RunFolder, round_num: int) -> None:
        for observer in self._observers:
            observer.keep(folder, round_num)
        for name, arm in self.arms.items():
            arm.keep(folder.arm(name), round_num)

    def finish(self, folder: RunFolder) -> dict[str, Any]:
        figures = {}
        for name, arm in self.arms.items():
            found = {"num_weights": arm.num_weights, **arm.finish(folder.arm(name))}
            figures.update({f"{name}/{metric}": value for metric, value in found.items()})
        self._add_up_seconds()
        for observer in self._observers:
            figures.update(observer.finish(folder))
        return figures

    def lines(self) -> list[str]:
        observed = [line for observer in self._observers for line in observer.lines()]
        total = added_up([arm.claim() for arm in self.arms.values()])
        return [*(f"{n}: {line}" for n, arm in self.arms.items() for line in arm.lines()), *([total] if total else []), *observed]

    def described(self) -> dict[str, Any]:
        return {"arms": {name: arm.described() for name, arm in self.arms.items()}}

    def close(self) -> None:
        for observer in self._observers:
            observer.close()
        for arm in self.arms.values():
            arm.close()

    def _add_up_seconds(self) -> None:
        """Sets the seconds of each phase to the total over all arms."""
        phases = dict.fromkeys(phase for arm in self.arms.values() for phase in arm.seconds)
        self.seconds.update({phase: sum(arm.seconds.get(phase, 0.0) for arm in self.arms.values()) for phase in phases})


def _together(records: Mapping[str, Record]) -> Record:
    """Returns the record of a round: totals over the arms, and each arm's metrics under its name."""
    each = list(records.values())
    return {
        "round": each[0]["round"],
        "seconds": round(sum(r["seconds"] for r in each), 6),
        "num_clients": max(r["num_clients"] for r in each),  # usually equal in all arms
        "num_dropped": max(r["num_dropped"] for r in each),
        "bytes_down": sum(r["bytes_down"] for r in each),
        "bytes_up": sum(r["bytes_up"] for r in each),
        "weights_hash": _hash_of([r["weights_hash"] for r in each]),
        **{f"{name}/{metric}": value for name, r in records.items() for metric, value in r.items() if metric != "round"},
    }


def _hash_of(hashes: Sequence[str]) -> str:
    """Returns one hash of all arms' hashes."""
    return weights_hash([np.frombuffer(each.encode(), np.uint8) for each in hashes])


def _named_rounds(name: str, arm: Learner, first: int) -> Iterator[Record]:
    with of_arm(name):
        yield from arm.rounds(first)


def _agreed(num_rounds: Mapping[str, int]) -> int:
    """Returns the number of rounds. Raises `ConfigError` unless all arms agree on it."""
    if len(set(num_rounds.values())) > 1:
        counts = ", ".join(f"{name}: {n:,}" for name, n in num_rounds.items())
        raise ConfigError(f"arms go through the same rounds, but their privacy budgets last for different ones ({counts}).")
    return next(iter(num_rounds.values()))
