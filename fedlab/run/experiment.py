"""The options of a whole run, stage by stage, and the properties that follow from them before any data is read."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field, PositiveInt, create_model

from fedlab import registry
from fedlab.aggregation import Aggregator
from fedlab.algorithms import LARGEST_METRIC, Algorithm, LocalTraining
from fedlab.algorithms.optimizers import Optimizer, Schedule
from fedlab.clock import Clock, NoClock
from fedlab.cohort import CohortSampler
from fedlab.corruption import Corruption, NoCorruption
from fedlab.data import Source
from fedlab.engine import EngineSpec, SecureSumming
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
from fedlab.spec import Spec, vouches
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
    """One run: its options, and the properties that follow from them.

    Equal experiments give equal results with the same machine and versions. `fedlab.run.rules` checks the combination of stages,
    `fedlab.run.inputs` reads the data.
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

    def of_study(self, stage: str) -> Any:
        """Returns the options of a stage that a study has registered, such as "attack"."""
        return getattr(self, stage)

    @property
    def why_uniform(self) -> str | None:
        """Returns the reason why all clients must count equally; None if there is none."""
        if not self.privacy.takes_weights:
            return "under differential privacy a client with more examples would have more influence than the noise hides"
        if self.client.private is not None:
            return "under client=dp_sgd the weight would tell how many examples a client holds"
        return None if self.aggregator.takes_weights else "this aggregator treats all clients alike"

    @property
    def is_private(self) -> bool:
        """Returns True if ε is claimed, for users or for examples; not of a run with arms, but of each arm."""
        return self.privacy.adds_noise or self.client.private is not None

    @property
    def reproducible(self) -> bool:
        """Returns True if the same seed, with the same noise.key if there is one, gives the same bits."""
        if self.arms:
            return all(arm.reproducible for arm in self.arms.values())
        return self.engine.reproducible and vouches(self.secure, "same bits")

    @property
    def needs_protocol(self) -> bool:
        """Returns True if a protocol computes the sums, rather than the graph of the round."""
        plain = type(self.secure) is Plain and self.secure.observe == "none" and not self.secure.dropout_rate
        return not plain or self.aggregator.marks_sums

    def summing(self, num_clients: int) -> SecureSumming | None:
        """Returns the protocol of a run with `num_clients` clients; None if the graph of the round computes the sums."""
        if not (self.needs_protocol and self.engine.runs_protocols):
            return None
        most = self.most_clients(num_clients)
        # Under privacy no client may be able to end a round: that would remove the noise and reveal the client. Clipping a
        # coordinate of a clipped update shortens the update.
        protocol = self.secure.under_noise() if self.privacy.adds_noise else self.secure
        return SecureSumming(protocol, most, self.seed, self.num_rounds, self.privacy.adds_noise)

    @property
    def largest_metric(self) -> float:
        """Returns the magnitude from which on a client's metrics are left out: they pass through the same sum as its update."""
        return min(LARGEST_METRIC, self.secure.largest_float)

    def most_clients(self, num_clients: int) -> int:
        """Returns the largest number of clients that report in one round."""
        return self.cohort.most_clients(num_clients)

    @property
    def cohorts_are_equal(self) -> bool:
        """Returns True if every cohort has the same number of clients, of which none drops out."""
        return self.cohort.are_equal

    @property
    def clients_at_once(self) -> int:
        """Returns the approximate number of clients to compute in parallel, one thread each, for dividing the cores."""
        if self.arms:
            return max(arm.clients_at_once for arm in self.arms.values())
        return self.cohort.usual_clients or self.partition.known_num_trained or 1_000


def task_of(experiment: Experiment, dataset: Dataset, partition: Partition | None = None) -> Task:
    """Returns the task of a run without arms, or of an arm: that of its algorithm, or else that of the data.

    `partition`: of the clients' training examples; None leaves out the loss that clients minimise. Raises `ConfigError` for
    metrics, or a loss, that are not for the task.
    """
    task, loss = experiment.evaluation.of(experiment.process.task or dataset.train.task), experiment.loss
    loss.check(task)
    if partition is None or not isinstance(task, Prediction):
        return task
    mine = np.concatenate(partition.indices) if loss.statistics else np.zeros(0, np.int64)
    return task.model_copy(update={"minimised": loss.of(task, dataset.train.y[mine])})


@contextlib.contextmanager
def of_arm(name: str) -> Iterator[None]:
    """Adds the name of the arm to an error."""
    try:
        yield
    except FedlabError as error:
        raise type(error)(f"arm {name}: {error}") from error
