"""Model inversion: the options. `inverting.py` attacks a run, `inversion.py` searches for an image. Imports no TensorFlow."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from fedlab.errors import ConfigError
from fedlab.studies.attacks.options import Attack, Attacked

__all__ = ["Descent", "ModelInversion"]

Weight = Annotated[float, Field(ge=0)]
Rate = Annotated[float, Field(gt=0)]


@dataclasses.dataclass(frozen=True)
class Descent:
    """The options of the search for an image: steps of Adam on cross-entropy + `tv_weight` · TV + `l2_weight` · ‖x‖²."""

    iterations: int
    learning_rate: float
    tv_weight: float
    l2_weight: float


_MOST_NAMED = 20  # the most classes that an error lists
_SERVER = tuple(f"server_{field.name}" for field in dataclasses.fields(Descent))


class ModelInversion(Attack):
    """Finds an image per class that the model assigns to that class, by gradient descent on its input (Fredrikson et al. 2015).

    `target`: the final global model; each client's model as the server saw it in the newest round on record, and the final
    model; or the Keras model in `file`, whose inputs and classes must match the data. A null option has the default of the
    target. `target_class`: the only class that is attacked, from 0; None: all classes. `server_…`: the options for the final
    model with target=clients; None: those for clients.
    """

    needs_classes: ClassVar[bool] = True
    name: ClassVar[str] = "model_inversion"
    locations: ClassVar[tuple[str, ...]] = ("file",)

    target: Literal["global", "clients", "file"] = "global"
    file: str | None = None
    iterations: PositiveInt | None = None
    learning_rate: Rate | None = None
    tv_weight: Weight | None = None  # weight of the total variation: the sum of |differences| of neighbouring pixels
    l2_weight: Weight | None = None  # weight of the sum of squared pixels
    target_class: NonNegativeInt | None = None
    server_iterations: PositiveInt | None = None
    server_learning_rate: Rate | None = None
    server_tv_weight: Weight | None = None
    server_l2_weight: Weight | None = None
    loss_every: PositiveInt | None = None  # iterations between recorded objectives; null: a twentieth of all
    control: bool = False  # also attacks the run's network, trained on the test set only
    num_starts: PositiveInt = 3  # start images of noise; the result with the best objective is kept
    weight_noise: Weight = 0.0  # if > 0, every model is attacked twice: unchanged, and with Gaussian noise on its weights
    class_means: bool = True  # the picture begins with the mean training image of each class, for comparison
    max_clients: PositiveInt = 10  # of more clients, so many evenly spaced ones are attacked
    seed: Annotated[int | None, Field(ge=0, lt=2**63)] = None  # null: the seed of the run

    @model_validator(mode="after")
    def _file_where_it_is_read(self) -> ModelInversion:
        if (self.target == "file") != (self.file is not None):
            raise ValueError(f"target={self.target} and file={self.file} do not go together: file is for target=file alone")
        given = [name for name in _SERVER if getattr(self, name) is not None]
        if given and self.target != "clients":
            raise ValueError(f"{given[0]} is for target=clients alone, got target={self.target}")
        return self

    @property
    def label(self) -> str:
        """Returns the name for the files of the results."""
        return f"{self.name}_{self.target}"

    @property
    def descent(self) -> Descent:
        usual = Descent(400, 0.1, 1e-4, 1e-3) if self.target == "clients" else Descent(2000, 0.01, 1e-5, 1e-3)
        given = {f.name: getattr(self, f.name) for f in dataclasses.fields(Descent)}
        return dataclasses.replace(usual, **{name: value for name, value in given.items() if value is not None})

    @property
    def server_descent(self) -> Descent:
        """Returns the options of the search on the final model."""
        given = {name.removeprefix("server_"): getattr(self, name) for name in _SERVER}
        return dataclasses.replace(self.descent, **{name: value for name, value in given.items() if value is not None})

    def on(self, attacked: Attacked) -> Mapping[str, float]:
        """Writes attacks/NAME.json and .npz and images/NAME.png, and returns the metrics of all such attacks on record."""
        from fedlab.studies.attacks.inverting import invert  # imports TensorFlow

        return invert(self, attacked)

    def check(self, observe: object) -> None:
        if self.target == "clients" and observe in ("none", ()):
            raise ConfigError("attack.target=clients reads what the server received: train with secure.observe=last.")

    def check_classes(self, classes: Sequence[int]) -> None:
        if self.target_class is not None and self.target_class not in classes:
            known = ", ".join(map(str, classes[:_MOST_NAMED])) + (", …" if len(classes) > _MOST_NAMED else "")
            raise ConfigError(f"attack.target_class={self.target_class}: the data has no such class: choose one of {known}.")

    def check_examples(self, shape: tuple[int, ...]) -> None:
        if len(shape) != 3:
            raise ConfigError(
                f"model inversion needs images [height, width, channels], the data has {list(shape)}: use attack=none, or images."
            )
