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
from fedlab.spec import Spec


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

    def check(self) -> None:
        """Raises `ConfigError` for stages that cannot work together."""
        if self.partition.needs_user_ids and not self.data.has_user_ids:
            raise ConfigError(
                f"partition {self.partition.name} needs to know each example's user, and data {self.data.name} does not: "
                "use data=mnist_by_writer, data=emnist or an npz with user_ids, or another partition."
            )
        self.process.check(self.client, self.aggregator.takes_weights)
        self.check_clients(self.partition.known_num_clients)

    def check_clients(self, num_clients: Optional[int]) -> None:
        """The part of `check` that needs the number of clients; called again once the data has been divided."""
        if num_clients is None:
            return
        self.cohort.check(num_clients)
        reporting = self.cohort.clients_per_round if isinstance(self.cohort, Uniform) else None
        self.aggregator.check(reporting)
