"""Evaluation: weights and data in, metrics out. This module defines the options; it imports no TensorFlow."""

from __future__ import annotations

import dataclasses
import pathlib
import re
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, PositiveInt, field_validator

from fedlab.errors import ConfigError
from fedlab.registry import Reference, resolved
from fedlab.spec import Spec
from fedlab.tasks import Generation, OwnMetric, Prediction, Task, Unmeasured, named
from fedlab.tasks.metrics import Further, check_entry

if TYPE_CHECKING:
    from fedlab.evaluation.evaluator import Evaluator
    from fedlab.types import Dataset

__all__ = ["EVALUATORS", "Evaluation", "Evaluators", "GanEvaluation", "build_evaluator"]


@dataclasses.dataclass(frozen=True)
class Evaluators:
    """The subclasses of `Evaluator` for a kind of task, by reference. `personal`: for one model per client; None: unsupported."""

    shared: Reference
    personal: Reference | None = None


# A kind of task is evaluated by its own entry, or else by that of its nearest base class. Your own kinds may be added
EVALUATORS: dict[type[Task], Evaluators] = {
    Prediction: Evaluators(f"{__name__}.predictions:OneModel", f"{__name__}.personal:ModelPerClient"),
    Generation: Evaluators(f"{__name__}.generation:GeneratedImages"),
    Unmeasured: Evaluators(f"{__name__}.unmeasured:NoMetrics"),
}


def build_evaluator(task: Task, personal: bool, model: Any, dataset: Dataset, evaluation: Evaluation, seed: int) -> Evaluator:
    """Builds the model and its evaluator. `personal`: one model per client.

    Raises `FedlabError` for a model that cannot be used.
    """
    known = [EVALUATORS[kind] for kind in type(task).__mro__ if kind in EVALUATORS]
    if not known:
        raise ConfigError(
            f"task {task.name}: nothing evaluates a {type(task).__name__}: derive it from fedlab.tasks.Prediction, or add its "
            "class to fedlab.evaluation.EVALUATORS."
        )
    reference = known[0].personal if personal else known[0].shared
    if reference is None:
        raise ConfigError(
            f"this process trains a model for each client, which the task {task.name} does not support: choose another process."
        )
    evaluator: Evaluator = resolved(reference)(task, model, dataset, evaluation, seed)
    return evaluator


def _listed(given: Any) -> Any:
    if not isinstance(given, (int, float, list, tuple, type(None))):
        raise ValueError("must be a number, or a list of numbers")
    return () if given is None else (given,) if isinstance(given, (int, float)) else given


_Listed = BeforeValidator(_listed)


_SAMPLE = re.compile(r"sample:([1-9][0-9]*)")


def _per_client(given: Any) -> Any:
    if isinstance(given, bool) or (isinstance(given, str) and _SAMPLE.fullmatch(given)):
        return given
    raise ValueError("must be true, false, or sample:N with a number N of clients from 1, such as sample:1000")


def _suited(entry: str | OwnMetric) -> str:
    """Returns, in words, the tasks that an entry of `metrics` is for."""
    if isinstance(entry, OwnMetric):
        return "of predictions"
    return "for data with classes" if named.of_classes(entry) else "for data with several labels"


class Evaluation(Spec):
    """The options of evaluation, in addition to the training metrics of each round."""

    batch_size: PositiveInt = 500  # examples evaluated at a time; does not change results
    # At the end of a run, evaluate on each client's own examples: of all clients, of none, or, as "sample:N", of N clients that
    # are drawn at random from the seed
    per_client: Annotated[bool | str, BeforeValidator(_per_client)] = True
    # Share of each client's examples that is held out from training for evaluation; 0: evaluate on its training examples
    holdout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    # Values of the metric that ranks runs, such as 0.97 for test accuracy: the summary contains rounds_to[0.97], the number of
    # rounds after which the best value so far first reaches it; null: it never does
    rounds_to: Annotated[tuple[float, ...], _Listed] = ()

    # Further metrics of the test set. For data with classes: balanced_accuracy, macro_f1, auc, ece, top_5_accuracy (any number).
    # For data with several labels: auc, average_precision. For any data: a user's own, as {_target_: my_module.MyMetric}
    metrics: tuple[str | OwnMetric, ...] = ()

    # Rounds from one measurement of every client's model to the next, on its training examples and on the test set; None: none
    client_every: PositiveInt | None = None

    @field_validator("metrics", mode="before")
    @classmethod
    def _metrics_exist(cls, metrics: Any) -> Any:
        if not isinstance(metrics, (list, tuple)):
            return metrics
        for entry in metrics:
            check_entry(entry)
            if isinstance(entry, str):
                named.check(entry)
        names = [entry if isinstance(entry, str) else entry.name for entry in metrics]
        twice = next((e.name for e in metrics if isinstance(e, OwnMetric) and names.count(e.name) > 1), None)
        if twice is not None:
            raise ValueError(f"two metrics are called {twice}: give one of them another name")
        return tuple(dict(zip(names, metrics)).values())

    @property
    def clients_sampled(self) -> int | None:
        """Returns N of per_client=sample:N; None if all clients, or none, are evaluated."""
        found = _SAMPLE.fullmatch(str(self.per_client))
        return int(found[1]) if found else None

    def check(self) -> None:
        """Raises `ConfigError` for missing files."""

    def of(self, task: Task) -> Task:
        """Returns `task` with `metrics`. Raises `ConfigError` if they are not for this task."""
        if not self.metrics:
            return task
        also: dict[str, Further | OwnMetric] = {}
        for entry in self.metrics:
            found = (entry,) if isinstance(entry, OwnMetric) else task.further(entry) if isinstance(task, Prediction) else ()
            if not found or not isinstance(task, Prediction):
                names = [one if isinstance(one, str) else one.name for one in self.metrics]
                raise ConfigError(f"evaluation.metrics={names} are {_suited(entry)}, and the task is {task.name}.")
            also.update({metric.name: metric for metric in found})
        taken = next((name for name in also if name in task.measured), None)
        if taken is not None:
            raise ConfigError(f"evaluation.metrics: the task {task.name} has a metric {taken} already: leave it out.")
        return task.model_copy(update={"also": tuple(also.values())})

    def lines(self) -> list[str]:
        """Returns notes for the user before the first round."""
        if self.client_every is None:
            return []
        return [
            f"evaluation.client_every={self.client_every}: client_models/ will contain metrics of single clients' models, a "
            "measurement for simulations: it needs updates in the clear, and training examples, which no server has. The metrics "
            "contain no noise, and no ε covers them. Do not publish them."
        ]


class GanEvaluation(Evaluation):
    """The options of evaluating generated images, for process=gan."""

    locations: ClassVar[tuple[str, ...]] = ("classifier",)

    # images generated in one batch, and the number of real images of the test set to compare with (all if it has fewer)
    num_images: Annotated[int, Field(ge=2, le=10_000)] = 500
    grid_size: PositiveInt = 6  # images per row and per column in pictures of the generator's progress
    classifier: str | None = (
        None  # a run folder with a model.keras, or a Keras file, which measures the images; None: nothing does
    )

    @property
    def classifier_path(self) -> pathlib.Path | None:
        """The path of the Keras file."""
        if self.classifier is None:
            return None
        path = pathlib.Path(self.classifier).expanduser()
        return path / "model.keras" if path.is_dir() else path

    def check(self) -> None:
        path = self.classifier_path
        if path is not None and not path.is_file():
            raise ConfigError(
                f"evaluation.classifier={self.classifier}, but there is no {path}: "
                "give the folder of a finished run, or a Keras file."
            )
