"""The options of a whole run, stage by stage, and what can be said of their fitting together before any data is read."""

from __future__ import annotations

from typing import Annotated, Any, Callable, Optional

from pydantic import Field, PositiveInt

from fedlab.aggregation import Aggregator
from fedlab.cohort import CohortSampler, Uniform
from fedlab.data import Source
from fedlab.engine import EngineSpec
from fedlab.errors import ConfigError
from fedlab.evaluation import Evaluation
from fedlab.partition import Partitioner
from fedlab.process import LocalTraining, Process
from fedlab.process.optimizers import Optimizer, Schedule
from fedlab.run.checkpointing import Checkpointing
from fedlab.run.loggers import LoggerSpec
from fedlab.run.objective import Objective
from fedlab.spec import Spec
from fedlab.types import Dataset, Partition


class Experiment(Spec):
    """One run. The same experiment gives the same result, on the same machine and versions."""

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    num_rounds: PositiveInt
    eval_every: PositiveInt = 1
    data: Source
    partition: Partitioner
    cohort: CohortSampler
    model: Callable[..., Any]
    process: Process
    client: LocalTraining
    client_optimizer: Optimizer
    client_schedule: Schedule
    server_optimizer: Optimizer
    aggregator: Aggregator
    engine: EngineSpec
    evaluation: Evaluation
    checkpoint: Checkpointing = Checkpointing()
    logger: dict[str, LoggerSpec] = {}
    objective: Objective = Objective()

    def check(self) -> None:
        """Raises `ConfigError` for stages that cannot work together."""
        if self.partition.needs_user_ids and not self.data.has_user_ids:
            raise ConfigError(
                f"this partition divides by user, but data {self.data.name} does not say who produced an example: "
                "use data=mnist_by_writer, data=emnist or an npz with user_ids, or another partition."
            )
        num_clients, num_examples = self.partition.known_num_clients, self.data.num_train_examples
        if num_clients is not None and num_examples is not None and num_clients > num_examples:
            raise ConfigError(
                f"partition.num_clients is {num_clients:,}, but data {self.data.name} has {num_examples:,} training examples: "
                "lower partition.num_clients."
            )
        self.process.check(self.client, self.client_optimizer, self.aggregator.takes_weights)
        self.check_clients(num_clients)

    def load(self) -> tuple[Dataset, Partition]:
        """Reads the data and divides it. Needs no TensorFlow (but for data=emnist). Raises `DataError` or `ConfigError`."""
        dataset = self.data.load(self.seed)
        partition = self.partition(dataset.train, self.seed)
        self.check_clients(len(partition))
        return dataset, partition

    def check_clients(self, num_clients: Optional[int]) -> None:
        """The part of `check` that needs the number of clients; called again once the data has been divided."""
        if num_clients is None:
            return
        self.cohort.check(num_clients)
        self.aggregator.check(self.most_clients(num_clients))

    def most_clients(self, num_clients: int) -> int:
        """How many clients at most report in one round."""
        return self.cohort.clients_per_round if isinstance(self.cohort, Uniform) else num_clients

    @property
    def clients_at_once(self) -> int:
        """Roughly how many clients there are to compute side by side, for sharing out the cores."""
        num_clients = self.partition.known_num_clients
        if isinstance(self.cohort, Uniform):
            return self.cohort.clients_per_round
        return num_clients or 1_000
