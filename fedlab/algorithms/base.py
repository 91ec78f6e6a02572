"""`Algorithm`: the options of a federated algorithm, and the start of its training. Imports no TensorFlow."""

from __future__ import annotations

import abc
import dataclasses
import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from fedlab.aggregation import Aggregator, Mean
from fedlab.algorithms.local import LocalTraining
from fedlab.algorithms.optimizers import Constant, Optimizer, Schedule, Sgd
from fedlab.engine import EngineSpec, SecureSumming
from fedlab.errors import ConfigError, FedlabError
from fedlab.privacy import NoPrivacy, Privacy
from fedlab.secure import Plain, SecureSum
from fedlab.spec import Spec
from fedlab.tasks import Task

if TYPE_CHECKING:
    import tensorflow as tf
    import tensorflow_federated as tff

    from fedlab.algorithms.client_work import ExampleSpec
    from fedlab.algorithms.keeping import Keeping
    from fedlab.algorithms.trainer import Trainer
    from fedlab.types import Dataset, Partition

LARGEST_METRIC = 1e30  # for one client or example; 100,000,000 of them add up without overflow


class Stages(Protocol):
    """The other stages of an experiment, as an algorithm checks them before data is read."""

    @property
    def client(self) -> LocalTraining: ...
    @property
    def client_optimizer(self) -> Optimizer: ...
    @property
    def server_optimizer(self) -> Optimizer: ...
    @property
    def aggregator(self) -> Aggregator: ...
    @property
    def privacy(self) -> Privacy: ...
    @property
    def engine(self) -> EngineSpec: ...
    @property
    def secure(self) -> SecureSum: ...


def why_uniform(stages: Stages) -> str | None:
    """Returns the reason why all clients must count equally; None if there is none."""
    if not stages.privacy.takes_weights:
        return "under differential privacy a client with more examples would have more influence than the noise hides"
    if stages.client.private:
        return "under client=dp_sgd the weight would tell how many examples a client holds"
    return None if stages.aggregator.takes_weights else "this aggregator treats all clients alike"


def needs_protocol(stages: Stages) -> bool:
    """Returns True if a protocol computes the sums, rather than the graph of the round."""
    secure = stages.secure
    plain = type(secure) is Plain and secure.observe == "none" and not secure.dropout_rate
    return not plain or stages.aggregator.marks_sums


@dataclasses.dataclass(frozen=True)
class Parts:
    """The components of a TFF process. By default, the server adds the mean update, weighted by examples, to its model."""

    model: Any  # TaskModel; GanModel for process=gan
    examples: ExampleSpec  # shape and dtype of one client's raw data
    client: LocalTraining
    client_optimizer: Optimizer
    client_schedule: Schedule = dataclasses.field(default_factory=Constant)
    server_optimizer: Optimizer = dataclasses.field(default_factory=lambda: Sgd(learning_rate=1.0))
    aggregator: tff.aggregators.WeightedAggregationFactory | tff.aggregators.UnweightedAggregationFactory = dataclasses.field(
        default_factory=lambda: Mean().build()
    )
    takes_weights: bool = True  # False: all clients count alike
    largest_metric: float = LARGEST_METRIC  # the metrics of a client that reach it are left out, and the client is counted
    num_clients: int = dataclasses.field(kw_only=True)  # in the whole federation
    num_examples: int = dataclasses.field(kw_only=True)  # training examples of all clients
    max_staleness: int = 0  # the most server steps since a client received its model; above 0 in asynchronous training only
    keras: tf.keras.Model | None = None  # the Keras model behind `model`; None for a pair of networks


@dataclasses.dataclass(frozen=True)
class Setting:
    """The environment of a training: its data, its clients, and the engine."""

    seed: int
    dataset: Dataset
    partition: Partition
    engine: EngineSpec
    summing: SecureSumming | None  # the protocol that sums clients' contributions; None: a plain sum
    privacy: Privacy
    local_epochs: int  # passes over a client's examples per round: `Algorithm.epochs`
    scratch: pathlib.Path | None = None  # folder of temporary files; None: that of the system


class Algorithm(Spec):
    """The client step and the server step of each round. `start` returns the training that the loop over rounds drives."""

    makes: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "start": ("fedlab.algorithms.trainer.Trainer",),
        "build": ("tensorflow_federated.templates.IterativeProcess",),
    }

    # `auto`: by examples if the aggregator takes weights, else uniform
    client_weighting: Literal["auto", "examples", "uniform"] = "auto"
    task: ClassVar[Task | None] = None  # the task that this algorithm learns from any data; None: the task of the data
    personal: ClassVar[bool] = False  # whether every client has its own model after training
    # True if a client sends the update of a model that it has trained; each class states this for itself
    sends_models: ClassVar[bool] = False
    # True if the server sums updates as they arrive, from clients with different versions of the model (`cohort=buffered`)
    buffers: ClassVar[bool] = False
    # True if the server waits for all clients of a round at once, so that the round takes as long as the slowest (`clock`)
    waits: ClassVar[bool] = True
    # Counts in the record of a round with clients that are above 0 only if training has diverged: name → meaning
    signs: ClassVar[Mapping[str, str]] = {}

    def check(self, stages: Stages) -> None:
        """Raises `ConfigError` for stages that contradict each other or have no effect here. Reads no data."""
        if self.client_weighting == "examples" and (why := why_uniform(stages)):
            raise ConfigError(f"process.client_weighting=examples, but {why}: use process.client_weighting=uniform (or auto).")

    def weigh_by_examples(self, takes_weights: bool) -> bool:
        """Returns True if a client's weight is proportional to its number of examples."""
        return self.client_weighting == "examples" or (self.client_weighting == "auto" and takes_weights)

    @property
    def keeps(self) -> str:
        """Returns, in words, the state that clients keep between rounds; "" if none. No privacy mechanism protects it."""
        return ""

    @property
    def why_no_init(self) -> str:
        """Returns the reason why a run cannot start from given weights (`init`), and a remedy; "" if it can."""
        return ""

    def epochs(self, client: LocalTraining) -> int:
        """Returns the number of passes over a client's examples per round, each of which needs an order of the examples."""
        return client.local_epochs

    @abc.abstractmethod
    def start(self, parts: Parts, setting: Setting) -> Trainer:
        """Returns the training before its first round. Raises `FedlabError` if it cannot be built."""


class Process(Algorithm):
    """An algorithm that is a TFF learning process; every engine runs it under every protection."""

    @abc.abstractmethod
    def build(self, parts: Parts) -> tff.learning.templates.LearningProcess:
        """Fills TFF's four slots: distributor, client work, aggregator, finalizer."""

    def start(self, parts: Parts, setting: Setting) -> Trainer:
        from fedlab.algorithms.trainer import ProcessTrainer

        return ProcessTrainer(self.build(parts), parts, setting)


class KeepingProcess(Process):
    """A process whose clients keep state between rounds. `keeping` defines the state and the client step."""

    makes: ClassVar[Mapping[str, tuple[str, ...]]] = {**Process.makes, "keeping": ("fedlab.algorithms.keeping.Keeping",)}

    @property
    def keeps(self) -> str:
        return "state"

    @abc.abstractmethod
    def keeping(self, parts: Parts) -> Keeping:
        """Returns the client state and the client step. Imports modules that need TensorFlow here, not at the top of the file."""

    def build(self, parts: Parts) -> tff.learning.templates.LearningProcess:
        return self._process(parts, self.keeping(parts))

    def _process(self, parts: Parts, keeping: Keeping) -> tff.learning.templates.LearningProcess:
        from fedlab.algorithms.keeping import learning_process

        return learning_process(parts, keeping, self.weigh_by_examples(parts.takes_weights))

    def start(self, parts: Parts, setting: Setting) -> Trainer:
        from fedlab.algorithms.keeping_trainer import KeepingTrainer

        keeping = self.keeping(parts)
        if self.personal != (keeping.own_model is not None):
            does = "no own_model" if self.personal else "an own_model"
            raise FedlabError(
                f"{type(self).__name__}.personal is {self.personal}, and its Keeping has {does}: where every client has a model "
                "of its own, state both, else neither."
            )
        keeping.check_own_model(parts)
        return KeepingTrainer(self._process(parts, keeping), keeping, parts, setting)


class OwnModels(KeepingProcess):
    """A process in which each client also trains a model of its own, without noise, and keeps it between rounds."""

    personal: ClassVar[bool] = True
    choice: ClassVar[str]  # its name as a choice of `process`, for errors

    @property
    def keeps(self) -> str:
        return "own models"

    def check(self, stages: Stages) -> None:
        super().check(stages)
        check_no_noise_on_clients(
            stages, f"process={self.choice} trains a client's own model without noise: use client=standard without weight_noise."
        )


def check_nothing_is_summed(name: str, stages: Stages, **also: bool) -> None:
    """Raises `ConfigError` unless the stages that form or protect a sum have no effect. `also`: further conditions."""
    needed: dict[str, Any] = {
        "aggregator=mean": type(stages.aggregator) is Mean,
        "privacy=none": type(stages.privacy) is NoPrivacy,
        "secure=plain": not needs_protocol(stages),
        **also,
    }
    for stage, is_so in needed.items():
        if not is_so:
            raise ConfigError(f"process={name} sends no updates to be summed: it goes with {stage} only.")


def check_plain_mean(name: str, sends: str, stages: Stages) -> None:
    """Raises `ConfigError` unless the server takes the mean of what clients send, and clients and server add no noise."""
    if type(stages.aggregator) is not Mean:
        raise ConfigError(f"process={name} needs the mean of the {sends} that clients send beside updates: use aggregator=mean.")
    if type(stages.privacy) is not NoPrivacy:
        raise ConfigError(
            f"process={name} sends {sends}, which no privacy mechanism covers: use privacy=none, or process=fed_avg or fed_prox."
        )
    check_no_noise_on_clients(stages, f"process={name} sends {sends} without noise: use client=standard without weight_noise.")


def check_nothing_is_private(name: str, sends: str, stages: Stages) -> None:
    """Raises `ConfigError` under user-level privacy, because clients also send something that no mechanism covers."""
    if stages.privacy.adds_noise:
        raise ConfigError(
            f"process={name} sends {sends}, which no privacy mechanism clips or covers with noise: use privacy=none, or "
            "process=fed_avg or fed_prox."
        )


def check_no_noise_on_clients(stages: Stages, why: str) -> None:
    """Raises `ConfigError`, beginning with `why`, if clients train by DP-SGD or add noise to their weights."""
    if stages.client.private or stages.client.weight_noise:
        raise ConfigError(why)


def check_sgd(optimizer: Optimizer, why: str, momentum: bool = False, learning_rate: float | None = None) -> None:
    """Raises `ConfigError(why)` unless this is SGD, with this learning rate if one is given. `momentum`: may have momentum."""
    plain = isinstance(optimizer, Sgd) and (momentum or not optimizer.momentum)
    if not plain or learning_rate not in (None, optimizer.learning_rate):
        raise ConfigError(why)
