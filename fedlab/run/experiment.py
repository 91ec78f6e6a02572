"""The options of a whole run, stage by stage."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field, PositiveInt, create_model

from fedlab import registry
from fedlab.aggregation import Aggregator
from fedlab.algorithms import Algorithm, LocalTraining
from fedlab.algorithms.optimizers import Optimizer, Schedule
from fedlab.clock import Clock, NoClock
from fedlab.cohort import CohortSampler
from fedlab.corruption import Corruption, NoCorruption
from fedlab.data import Source
from fedlab.engine import EngineSpec
from fedlab.errors import FedlabError
from fedlab.evaluation import Evaluation
from fedlab.evaluation.initial import Initial
from fedlab.filter import Filter, NoFilter
from fedlab.partition import Partitioner
from fedlab.privacy import NoPrivacy, Privacy
from fedlab.registry import resolved
from fedlab.run.best_round import Keep
from fedlab.run.checkpointing import Checkpointing
from fedlab.run.early_stop import EarlyStop
from fedlab.run.loggers import LoggerSpec
from fedlab.secure import Plain, SecureSum
from fedlab.spec import Spec
from fedlab.tasks import Loss, Prediction, Task, TaskLoss
from fedlab.types import Dataset, Partition

# Options common to all arms of a run
COMMON_TO_ARMS = (
    *("seed", "num_rounds", "eval_every", "evaluation", "stop", "checkpoint", "logger"),
    *(stage.name for stage in registry.stages() if stage.common_to_arms),
)

if TYPE_CHECKING:
    _OfStudies = Spec
else:  # the stages of studies as fields, such as `attack`; studies read them with `of_study`
    _of_studies = {stage.name: (resolved(stage.base), resolved(stage.default)()) for stage in registry.stages()}
    _OfStudies = create_model("_OfStudies", __base__=Spec, **_of_studies)


class Experiment(_OfStudies):
    """The options of one run.

    Equal experiments give equal results with the same machine and versions. `fedlab.run.rules` checks the combination of stages,
    `fedlab.run.inputs` reads the data. `why_uniform` and `needs_protocol` of `fedlab.algorithms.base` say what follows from them.
    """

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    num_rounds: PositiveInt
    eval_every: PositiveInt = 1
    data: Source
    partition: Partitioner
    corruption: Corruption = NoCorruption()
    filter: Filter = NoFilter()
    cohort: CohortSampler
    clock: Clock = NoClock()
    model: Callable[..., Any]
    init: Initial = Initial()
    loss: Loss = TaskLoss()
    process: Algorithm
    client: LocalTraining
    client_optimizer: Optimizer
    client_schedule: Schedule
    server_optimizer: Optimizer
    aggregator: Aggregator
    privacy: Privacy = NoPrivacy()
    secure: SecureSum = Plain()
    engine: EngineSpec
    evaluation: Evaluation
    stop: EarlyStop = EarlyStop()
    checkpoint: Checkpointing = Checkpointing()
    keep: Keep = Keep()
    logger: dict[str, LoggerSpec] = {}
    arms: dict[str, Experiment] = {}  # variants with some stages replaced, trained in lockstep; {}: no arms


def of_study(experiment: Experiment, stage: str) -> Any:
    """Returns the options of a stage that a study has registered, such as "attack"."""
    return getattr(experiment, stage)


def is_private(experiment: Experiment) -> bool:
    """Returns True if ε is claimed, for users or for examples; not of a run with arms, but of each arm."""
    return experiment.privacy.adds_noise or experiment.client.private is not None


def task_of(experiment: Experiment, dataset: Dataset, partition: Partition | None = None) -> Task:
    """Returns the task of a run without arms, or of an arm: that of its algorithm, or else that of the data.

    `partition`: of the clients' training examples; None leaves out the loss that clients minimise. Raises `ConfigError` for
    metrics, or a loss, that are not for the task.
    """
    task, loss = experiment.evaluation.of(experiment.process.task or dataset.train.task), experiment.loss
    loss.check(task)
    if partition is None or not isinstance(task, Prediction):
        return task
    mine = partition.owned if loss.statistics else np.zeros(0, np.int64)
    return task.model_copy(update={"minimised": loss.of(task, dataset.train.y[mine])})


@contextlib.contextmanager
def of_arm(name: str) -> Iterator[None]:
    """Adds the name of the arm to an error."""
    try:
        yield
    except FedlabError as error:
        raise type(error)(f"arm {name}: {error}") from error
