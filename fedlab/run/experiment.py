"""The options of a whole run, stage by stage, and what can be said of their fitting together before any data is read."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from typing import Annotated, Any

from pydantic import Field, PositiveInt

from fedlab.aggregation import Aggregator, Mean
from fedlab.attacks import Attack, NoAttack
from fedlab.cohort import CohortSampler, FixedSize
from fedlab.corruption import Corruption, NoCorruption
from fedlab.data import Source
from fedlab.difftest import Difftest, NoDifftest
from fedlab.engine import EngineSpec, SecureSumming
from fedlab.errors import ConfigError, FedlabError, did_you_mean
from fedlab.evaluation import Evaluation
from fedlab.filter import Filter, NoFilter
from fedlab.partition import Partitioner, hold_out
from fedlab.privacy import NoPrivacy, Privacy
from fedlab.process import LARGEST_METRIC, DpSgd, LocalTraining, Process
from fedlab.process.optimizers import Optimizer, Schedule, Sgd
from fedlab.run.checkpointing import Checkpointing
from fedlab.run.fingerprint import fingerprints
from fedlab.run.loggers import LoggerSpec
from fedlab.run.objective import Objective
from fedlab.run.promises import check_privacy
from fedlab.secure import Plain, SecureSum
from fedlab.spec import Spec, states, vouches
from fedlab.types import Dataset, Partition

# What a run has once, whatever its arms
COMMON_TO_ARMS = ("seed", "num_rounds", "eval_every", "evaluation", "difftest", "checkpoint", "logger", "objective")
_DATA_STAGES = ("data", "partition", "corruption", "filter")  # what decides which examples an arm's clients hold


class Experiment(Spec):
    """One run. The same experiment gives the same result, on the same machine and versions."""

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    num_rounds: PositiveInt
    eval_every: PositiveInt = 1
    data: Source
    partition: Partitioner
    corruption: Corruption = NoCorruption()
    filter: Filter = NoFilter()
    cohort: CohortSampler
    model: Callable[..., Any]
    process: Process
    client: LocalTraining
    client_optimizer: Optimizer
    client_schedule: Schedule
    server_optimizer: Optimizer
    aggregator: Aggregator
    privacy: Privacy = NoPrivacy()
    secure: SecureSum = Plain()
    engine: EngineSpec
    evaluation: Evaluation
    difftest: Difftest | NoDifftest = NoDifftest()
    checkpoint: Checkpointing = Checkpointing()
    logger: dict[str, LoggerSpec] = {}
    objective: Objective = Objective()
    attack: Attack = NoAttack()  # on what the finished run has left
    arms: dict[str, Experiment] = {}  # the same with some stages exchanged, trained side by side; {}: this one alone

    def check(self) -> None:
        """Raises `ConfigError` for stages that cannot work together."""
        self._check_difftest()
        self._check_own()

    def _check_own(self) -> None:
        """`check`, of a whole run or of an arm."""
        self._check_data()
        if not self.arms:
            self._check_stages()
        for name, arm in self.arms.items():
            self._check_arm(name, arm)
            with of_arm(name):
                arm._check_own()

    def _check_difftest(self) -> None:
        """The part of `check` about the arms to be compared."""
        if isinstance(self.difftest, NoDifftest):
            return
        if not self.arms:
            raise ConfigError("difftest compares two arms, and this run has none: give arms, or choose difftest=none.")
        for name in self.difftest.arms or ():
            if name not in self.arms:
                hint = did_you_mean(name, self.arms)
                raise ConfigError(f"difftest.arms names '{name}', which is no arm of this run: {', '.join(self.arms)}.{hint}")

    def _check_arm(self, name: str, arm: Experiment) -> None:
        """The part of `check` about what an arm may not have of its own."""
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
            raise ConfigError(f"arms.{name}: the name of an arm is made of letters, digits, - and _.")
        if len(self.arms) < 2:
            raise ConfigError(f"arms has only {name}: name at least two, or none.")
        for option in COMMON_TO_ARMS:
            if getattr(arm, option) != getattr(self, option):
                raise ConfigError(f"arms.{name}.{option}: all arms have the same {option}: set it outside of arms.")
        if arm.engine.device != self.engine.device:
            raise ConfigError(f"arms.{name}.engine.device: all arms compute on the same device: set it outside of arms.")

    def _check_data(self) -> None:
        """The part of `check` about the data and how they are divided."""
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
        self.filter.check()

    def _check_stages(self) -> None:
        self._check_sums()
        self.attack.check(self.secure.observe)
        if not self.process.trains_a_classifier and not isinstance(self.attack, NoAttack):
            raise ConfigError(
                "an attack needs the one classifier that a run trains, and this process trains none: use attack=none."
            )
        self.process.check_model(self.model)
        self.evaluation.check()
        self._check_unused()
        self.process.check(self.client, self.client_optimizer, self.why_uniform)
        self.check_clients(self.partition.known_num_clients)
        check_privacy(self)

    def _check_unused(self) -> None:
        """The part of `check` about stages for which the process has no use: they are to be as they are by default."""
        process, needed = self.process, {}
        if not process.aggregates:
            needed["aggregator=mean"] = type(self.aggregator) is Mean
            needed["privacy=none"] = type(self.privacy) is NoPrivacy
            needed["secure=plain"] = not self.needs_protocol
        if not process.composed:
            needed["engine=compiled"] = self.engine.reproducible
            needed["server_optimizer=sgd at learning rate 1"] = self.server_optimizer == Sgd(learning_rate=1.0)
        for stage, is_so in needed.items():
            if not is_so:
                raise ConfigError(f"process={process.name} sends no updates to be summed: it goes with {stage} only.")

    @property
    def why_uniform(self) -> str | None:
        """Why every client has to count alike, where it has to."""
        if not self.privacy.takes_weights:
            return "under differential privacy a client with more examples would have more influence than the noise hides"
        if isinstance(self.client, DpSgd):
            return "under client=dp_sgd the weight would tell how many examples a client holds"
        return None if self.aggregator.takes_weights else "this aggregator treats all clients alike"

    def _check_sums(self) -> None:
        """The part of `check` about who sees what of clients' updates."""
        protected = type(self.secure) is not Plain
        if self.needs_protocol and not self.engine.runs_protocols:
            if not protected and self.aggregator.marks_sums:
                return  # TFF's runtime makes these sums in the clear
            option = "secure.observe" if self.secure.observe != "none" else "secure.dropout_rate"
            raise ConfigError(
                f"{f'secure={self.secure.name}' if protected else option} needs engine=compiled: TFF's own runtime sums in the "
                "clear and records nothing."
            )
        if protected and self.aggregator.needs_individual_updates:
            raise ConfigError(
                f"secure={self.secure.name} gives the server a sum only, and this aggregator compares clients one by one: "
                "use aggregator=mean, robust or secure, or secure=plain."
            )

    @property
    def reproducible(self) -> bool:
        """Whether the same seed, with the same noise.key where there is one, gives the same bits."""
        if self.arms:
            return all(arm.reproducible for arm in self.arms.values())
        return self.engine.reproducible and vouches(self.secure, "same bits")

    @property
    def needs_protocol(self) -> bool:
        """Whether sums are made by a protocol, and not in the graph of the round."""
        plain = type(self.secure) is Plain and self.secure.observe == "none" and not self.secure.dropout_rate
        return not plain or self.aggregator.marks_sums

    def summing(self, num_clients: int) -> SecureSumming | None:
        """The protocol of a run with so many clients; None where the graph of the round makes the sums."""
        if not (self.needs_protocol and self.engine.runs_protocols):
            return None
        most = self.most_clients(num_clients)
        # Under privacy no client may be able to end a round: that would take away the noise, and reveal the client. Clipping a
        # coordinate of a clipped update shortens the update.
        protocol = self.secure.under_noise() if self.privacy.adds_noise else self.secure
        return SecureSumming(protocol, most, self.seed, self.num_rounds, self.privacy.adds_noise)

    @property
    def largest_metric(self) -> float:
        """The magnitude from which on a client's metrics are left out: they go through the same sum as its update."""
        return min(LARGEST_METRIC, self.secure.largest_float)

    def load(self) -> tuple[Dataset, Partition]:
        """Reads the data, divides it, puts the bug in, filters. Needs no TensorFlow but for data=emnist. Raises `FedlabError`."""
        dataset = self.data.load(self.seed)
        if not self.arms:
            self.attack.check_examples(dataset.train.x.shape[1:])
        partition = self.partition(dataset.train, self.seed)
        dataset = self.corruption(dataset, partition, self.seed)
        return dataset, self._kept(self.filter(dataset, partition, fingerprints))

    def load_arms(self, dataset: Dataset, partition: Partition) -> dict[str, tuple[Dataset, Partition]]:
        """The data of each arm: `dataset` and `partition` themselves, which are the experiment's, where the arm has no others."""
        found = {}
        for name, arm in self.arms.items():
            with of_arm(name):
                found[name] = (dataset, partition) if self._same(arm, *_DATA_STAGES) else arm.load()
                # The same arrays, to be held once; which clients have a corruption may depend on how they are divided
                unit = () if type(arm.corruption) is NoCorruption else ("partition",)
                if self._same(arm, "data", "corruption", *unit):
                    found[name] = (dataset, found[name][1])
                arm.check_clients(len(found[name][1]))
                arm.attack.check_examples(found[name][0].train.x.shape[1:])
        return found

    def _same(self, other: Experiment, *stages: str) -> bool:
        return all(getattr(self, stage) == getattr(other, stage) for stage in stages)

    def _kept(self, partition: Partition) -> Partition:
        """What of a filtered partition is trained on."""
        partition = hold_out(partition, self.evaluation.holdout, self.seed)
        if not self.arms:
            self.check_clients(len(partition))
        return partition

    def check_clients(self, num_clients: int | None) -> None:
        """The part of `check` that needs the number of clients; called again once the data has been divided."""
        if num_clients is None:
            return
        self.cohort.check(num_clients)
        most = self.most_clients(num_clients)
        self.aggregator.check(most)
        if most < self.secure.least_clients:
            raise ConfigError(
                f"secure={self.secure.name} needs at least {self.secure.least_clients} clients per round and there can be only "
                f"{most}: a sum of one is that client's update."
            )

    def most_clients(self, num_clients: int) -> int:
        """How many clients at most report in one round."""
        if isinstance(self.cohort, FixedSize) and states(self.cohort, "sampling"):  # a subclass may choose more
            return self.cohort.clients_per_round
        return num_clients

    @property
    def clients_at_once(self) -> int:
        """Roughly how many clients there are to compute side by side, one thread each, for sharing out the cores."""
        if self.arms:
            return max(arm.clients_at_once for arm in self.arms.values())
        if isinstance(self.cohort, FixedSize):
            return self.cohort.clients_per_round
        return self.partition.known_num_clients or 1_000


@contextlib.contextmanager
def of_arm(name: str) -> Iterator[None]:
    """Says of an error which arm it is about."""
    try:
        yield
    except FedlabError as error:
        raise type(error)(f"arm {name}: {error}") from error
