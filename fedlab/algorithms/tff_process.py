"""A user's own learning process of TensorFlow Federated (TFF), such as those of `tff.learning.algorithms`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import ImportString

from fedlab.aggregation import Mean
from fedlab.algorithms.base import Algorithm, Parts, Setting, Stages, check_no_noise_on_clients
from fedlab.algorithms.optimizers import Constant
from fedlab.errors import ConfigError, FedlabError, did_you_mean, one_line, own_frames
from fedlab.privacy import NoPrivacy
from fedlab.tasks import Task, Unmeasured

if TYPE_CHECKING:
    from fedlab.algorithms.trainer import Trainer

# The arguments that a builder may take by name, and their meaning
GIVEN: Mapping[str, str] = {
    "model": "the model as a tff.learning.models.FunctionalModel",
    "keras": "the Keras model, at its initial weights",
    "input_shape": "the shape of one example, a tuple",
    "client_optimizer": "TFF's optimizer of client_optimizer",
    "server_optimizer": "TFF's optimizer of server_optimizer",
    "client_schedule": "a function: round (float, from 1) → factor of the client learning rate",
    "aggregator": "TFF's weighted aggregation factory of aggregator",
    "num_clients": "the number of clients in the federation",
    "seed": "the seed of the run",
}


class TffProcess(Algorithm):
    """A learning process that the user's function `build` returns.

    fedlab passes `build` those arguments of `GIVEN` that it has, and `options`. A client's data set contains its examples as the
    process expects them: batches, or single examples; pairs (x, y), dictionaries of both, or x alone. `client` determines epochs,
    batches and their largest number. Nothing is known of what clients send, so no privacy is claimed.
    """

    reaches_out: ClassVar[tuple[str, ...]] = ("build",)
    # TFF replaces updates that are not finite by zeros of weight 0, whose mean is not finite if there are no others
    signs: ClassVar[Mapping[str, str]] = {"server_update_non_finite": "no client's update was finite"}

    client_weighting: Literal["auto"] = "auto"  # the process decides
    build: ImportString[Callable[..., Any]]
    options: dict[str, Any] = {}
    # False: the process trains something else, such as centroids. Then the model is not evaluated
    trains_model: bool = True

    @property
    def task(self) -> Task | None:  # type: ignore[override]
        """Returns the task if the metrics of the process are the only ones."""
        return None if self.trains_model else Unmeasured()

    @property
    def name(self) -> str:
        """Returns the name of the builder, for messages."""
        return getattr(self.build, "__name__", type(self.build).__name__)

    @property
    def taken(self) -> list[str]:
        """Returns the arguments of `GIVEN` that the builder takes. Raises `ConfigError` for missing or unknown ones."""
        parameters = inspect.signature(self.build).parameters.values()
        named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        names = [p.name for p in named]
        for option in self.options:
            if option in GIVEN:
                raise ConfigError(f"process.options.{option}: fedlab passes {option} to the builder itself: leave it out.")
            if option not in names and len(named) == len(parameters):
                raise ConfigError(
                    f"process.options.{option}: {self.name} takes no {option}, but {', '.join(names) or 'nothing'}."
                    f"{did_you_mean(option, names)}"
                )
        for p in named:
            if p.kind == p.POSITIONAL_ONLY or (p.default is p.empty and p.name not in (*GIVEN, *self.options)):
                raise ConfigError(
                    f"process.build: {self.name} takes {p.name}: set +process.options.{p.name}=VALUE, or take what fedlab gives "
                    f"by name: {', '.join(GIVEN)}."
                )
        return [name for name in names if name in GIVEN]

    def check(self, stages: Stages) -> None:
        super().check(stages)
        if type(stages.privacy) is not NoPrivacy:
            raise ConfigError(
                f"process=tff runs {self.name}, and nothing is known of what its clients send, so no ε can be claimed: use "
                "privacy=none."
            )
        check_no_noise_on_clients(stages, "process=tff trains clients its own way: use client=standard without weight_noise.")
        if "aggregator" not in self.taken and type(stages.aggregator) is not Mean:
            raise ConfigError(
                f"process=tff runs {self.name}, which takes no argument aggregator and so has its own: use aggregator=mean, or "
                "add the argument."
            )

    def start(self, parts: Parts, setting: Setting) -> Trainer:
        from fedlab.algorithms.own_process import OwnProcessTrainer

        return OwnProcessTrainer(self, lambda: self._built(parts, setting), parts, setting)

    def lines(self, parts: Parts) -> list[str]:
        """Returns notes for the user before the first round."""
        scheduled = type(parts.client_schedule) is not Constant
        stages = ("client_optimizer", "server_optimizer", *(["client_schedule"] if scheduled else []))
        idle = [stage for stage in stages if stage not in self.taken]
        return [f"{self.name} takes no {' and no '.join(idle)}, so the options of these have no effect"] if idle else []

    def _built(self, parts: Parts, setting: Setting) -> Any:
        """Calls the builder. An exception in it is a mistake in the configuration."""
        from fedlab.algorithms.composing import weighted

        given: Mapping[str, Callable[[], Any]] = {
            "model": lambda: parts.model,
            "keras": lambda: parts.keras,
            "input_shape": lambda: tuple(parts.examples.input_shape),
            "client_optimizer": parts.client_optimizer.build,
            "server_optimizer": parts.server_optimizer.build,
            "client_schedule": lambda: parts.client_schedule.factor,
            "aggregator": lambda: weighted(parts.aggregator),
            "num_clients": lambda: parts.num_clients,
            "seed": lambda: setting.seed,
        }
        try:
            return self.build(**{name: given[name]() for name in self.taken}, **self.options)
        except FedlabError:
            raise
        except Exception as error:
            where = own_frames(error) or "HYDRA_FULL_ERROR=1 shows where"
            raise ConfigError(f"process.build: {type(error).__name__}: {one_line(error)} ({where}).") from error
