"""The base class of all attacks, also of a user's own. Each shipped attack has its own file. Imports no TensorFlow."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import model_validator

from fedlab.spec import Spec
from fedlab.types import Dataset, Partition

__all__ = ["Attack", "Attacked", "NoAttack"]


@dataclasses.dataclass(frozen=True)
class Attacked:
    """The input of an attack: a finished run without arms, or an arm of one.

    `folder`: contains model.keras and observed/. `secure`: the options of the protocol that computed the sums, a
    `fedlab.secure.SecureSum`.
    """

    folder: pathlib.Path
    dataset: Dataset
    partition: Partition
    seed: int
    secure: Any


class Attack(Spec):
    """An attack on a finished run. It trains nothing, so a run can be attacked repeatedly.

    A subclass defines `run`, or `on` if it needs more than the arguments of `run`.
    """

    @model_validator(mode="after")
    def _does_something(self) -> Attack:
        if type(self).run is Attack.run and type(self).on is Attack.on:
            raise ValueError(f"{type(self).__name__} defines no run(folder, dataset, partition, seed): it would do nothing")
        return self

    def run(self, folder: pathlib.Path, dataset: Dataset, partition: Partition, seed: int) -> Mapping[str, float]:
        """Attacks the finished run in `folder`, which contains model.keras and observed/; returns metrics for summary.json."""
        raise NotImplementedError

    def on(self, attacked: Attacked) -> Mapping[str, float]:
        """Attacks with all available information. In summary.json, the names of the metrics begin with "attack_"."""
        return self.run(attacked.folder, attacked.dataset, attacked.partition, attacked.seed)

    def check(self, observe: object) -> None:
        """Raises `ConfigError` if a run with `secure.observe=observe` does not record the data that the attack needs."""

    def check_examples(self, shape: tuple[int, ...]) -> None:
        """Raises `ConfigError` if examples of this shape cannot be attacked. Called before training."""

    def check_classes(self, classes: Sequence[int]) -> None:
        """Raises `ConfigError` if the attack cannot use data with these classes. Called before training.

        `classes`: ascending, those with training and with test examples.
        """


class NoAttack(Attack):
    """No attack."""

    def on(self, attacked: Attacked) -> Mapping[str, float]:
        """Does nothing."""
        return {}
