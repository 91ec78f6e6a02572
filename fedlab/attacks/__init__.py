"""Attacks: a model and what the server saw in, figures out. This module holds the options and imports no TensorFlow."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field, PositiveInt, model_validator

from fedlab.errors import ConfigError
from fedlab.spec import Spec
from fedlab.types import Dataset, Partition

__all__ = ["Attack", "Descent", "ModelInversion", "NoAttack"]

Weight = Annotated[float, Field(ge=0)]
Rate = Annotated[float, Field(gt=0)]


class Attack(Spec):
    """What is tried on a run once it has finished. A run may be attacked again and again: it trains nothing.

    An attack of one's own defines `run`.
    """

    built_in: ClassVar[bool] = False  # fedlab.run.attack does it

    @model_validator(mode="after")
    def _does_something(self) -> Attack:
        if type(self).run is Attack.run and not self.built_in:
            raise ValueError(f"{type(self).__name__} defines no run(folder, dataset, partition, seed): it would do nothing")
        return self

    def run(self, folder: pathlib.Path, dataset: Dataset, partition: Partition, seed: int) -> Mapping[str, float]:
        """Attacks the finished run in `folder`, which holds model.keras and observed/, and returns figures for summary.json."""
        raise NotImplementedError

    def check(self, observe: object) -> None:
        """Raises `ConfigError` where a run with `secure.observe=observe` will not leave what the attack needs."""

    def check_examples(self, shape: tuple[int, ...]) -> None:
        """Raises `ConfigError` where examples of this shape cannot be attacked. Called before training."""


class NoAttack(Attack):
    """None."""

    built_in: ClassVar[bool] = True


@dataclasses.dataclass(frozen=True)
class Descent:
    """How an image is searched for: steps of Adam down cross-entropy + `tv_weight` · TV + `l2_weight` · ‖x‖²."""

    iterations: int
    learning_rate: float
    tv_weight: float
    l2_weight: float


class ModelInversion(Attack):
    """An image per class that the model takes for that class, by gradient descent on its input (Fredrikson et al. 2015).

    `target`: the final global model; each client's model as the server saw it in the newest round on record; or the Keras model
    in `file`, whose inputs and classes are the data's. What is null is the target's default.
    """

    built_in: ClassVar[bool] = True
    name: ClassVar[str] = "model_inversion"

    target: Literal["global", "clients", "file"] = "global"
    file: str | None = None
    iterations: PositiveInt | None = None
    learning_rate: Rate | None = None
    tv_weight: Weight | None = None  # of the total variation: the sum of |differences| of neighbouring pixels
    l2_weight: Weight | None = None  # of the sum of squared pixels
    num_starts: PositiveInt = 3  # images of noise to begin with, of which the one with the best objective is kept
    weight_noise: Weight = 0.0  # every model is attacked twice where > 0: as it is, and with Gaussian noise on its weights
    max_clients: PositiveInt = 10  # of more, so many evenly spaced ones are attacked
    seed: Annotated[int | None, Field(ge=0, lt=2**63)] = None  # null: that of the run

    @model_validator(mode="after")
    def _file_where_it_is_read(self) -> ModelInversion:
        if (self.target == "file") != (self.file is not None):
            raise ValueError(f"target={self.target} and file={self.file} do not go together: file is for target=file alone")
        return self

    @property
    def label(self) -> str:
        """Names the files of its results."""
        return f"{self.name}_{self.target}"

    @property
    def descent(self) -> Descent:
        usual = Descent(400, 0.1, 1e-4, 1e-3) if self.target == "clients" else Descent(2000, 0.01, 1e-5, 1e-3)
        given = {f.name: getattr(self, f.name) for f in dataclasses.fields(Descent)}
        return dataclasses.replace(usual, **{name: value for name, value in given.items() if value is not None})

    def check(self, observe: object) -> None:
        if self.target == "clients" and observe in ("none", ()):
            raise ConfigError("attack.target=clients reads what the server received: train with secure.observe=last.")

    def check_examples(self, shape: tuple[int, ...]) -> None:
        if len(shape) != 3:
            raise ConfigError(
                f"model inversion needs images [height, width, channels], the data has {list(shape)}: use attack=none, or images."
            )
