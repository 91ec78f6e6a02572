"""Processes: a model, client work, an aggregator and a server optimizer, composed into one TFF learning process.

This module is what configurations name; it imports no TensorFlow. `fedlab.process.compose` does the composing.
"""

from __future__ import annotations

import abc
import dataclasses
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from fedlab.errors import ConfigError
from fedlab.models import Adversaries
from fedlab.privacy import NoiseSource, Norm
from fedlab.process.optimizers import Adam, Optimizer, Schedule, Sgd
from fedlab.spec import Promise, Spec

if TYPE_CHECKING:
    import tensorflow_federated as tff

    from fedlab.models.adversarial import GanModel
    from fedlab.process.client_work import ExampleSpec

LARGEST_METRIC = 1e30  # of one client or example; a hundred million of them add up without overflow

__all__ = ["DpSgd", "FedAvg", "FedProx", "FedSgd", "Gan", "Ingredients", "LocalOnly", "LocalTraining", "Process"]


class LocalTraining(Spec):
    """How much a client computes in one round."""

    local_epochs: PositiveInt = 1  # E in McMahan et al. 2017
    batch_size: PositiveInt = 20  # B; the last batch of an epoch may be smaller
    max_local_steps: PositiveInt | None = None  # stop after so many batches, whatever the epochs
    weight_noise: NonNegativeFloat = 0.0  # standard deviation of noise on the weights that a client sends. Nothing clips them, so
    # it promises nothing: ε is ∞


class DpSgd(LocalTraining):
    """Local training by DP-SGD (Abadi et al. 2016, algorithm 1): protects each example, whoever sees the client's update.

    The gradient of every example is clipped to `clip_norm`, their sum gets Gaussian noise of standard deviation
    `noise_multiplier` · `clip_norm`, and is divided by `batch_size`, a constant, however many examples the batch has.
    """

    vouches: ClassVar[tuple[Promise, ...]] = ("privacy",)

    clip_norm: Norm = 1.0
    noise_multiplier: NonNegativeFloat = 1.0
    # poisson: in each of E · ⌈n / B⌉ steps every example takes part by itself with probability min(B / n, 1), as the account
    # assumes. shuffled: each example once an epoch, without amplification
    batches: Literal["poisson", "shuffled"] = "poisson"
    delta: Annotated[float, Field(gt=0, lt=1)] | None = None  # None: 1 / n^1.1 for the n examples of the smallest client
    noise_source: NoiseSource = "key"  # of the noise, and of Poisson batches


@dataclasses.dataclass(frozen=True)
class Ingredients:
    """What a process is made of."""

    model: tff.learning.models.FunctionalModel | GanModel
    examples: ExampleSpec  # shape and dtype of one client's raw data
    client: LocalTraining
    client_optimizer: Optimizer
    client_schedule: Schedule
    server_optimizer: Optimizer
    aggregator: tff.aggregators.WeightedAggregationFactory | tff.aggregators.UnweightedAggregationFactory
    takes_weights: bool  # False: all clients count alike
    largest_metric: float = LARGEST_METRIC  # metrics of a client that reach it are left out, and the client is counted


class Process(Spec):
    """A federated algorithm: `build` fills TFF's four slots (distributor, client work, aggregator, finalizer)."""

    # `auto`: by examples where weights are taken, uniform where they are not
    client_weighting: Literal["auto", "examples", "uniform"] = "auto"
    composed: ClassVar[bool] = True  # of TFF's slots, for an engine to run. False: a learner of its own runs it
    aggregates: ClassVar[bool] = True  # whether there is a sum of clients' updates, to be made robust, private or secure
    name: ClassVar[str] = ""  # as it is chosen, for those that take a part in few things
    trains_locally: ClassVar[bool] = True  # whether local_epochs > 1, max_local_steps and a client optimizer mean anything
    trains_a_classifier: ClassVar[bool] = True  # one, which model.keras holds in the end

    def check(self, client: LocalTraining, client_optimizer: Optimizer, why_uniform: str | None = None) -> None:
        """Raises `ConfigError` for choices that contradict each other. `why_uniform`: why all clients have to count alike."""
        if self.client_weighting == "examples" and why_uniform:
            raise ConfigError(
                f"process.client_weighting=examples, but {why_uniform}: use process.client_weighting=uniform (or auto)."
            )
        if not self.trains_locally and (client.local_epochs, client.max_local_steps) != (1, None):
            raise ConfigError(
                "process=fed_sgd sends one gradient over all of a client's examples: "
                "client.local_epochs must be 1 and client.max_local_steps null, or use process=fed_avg."
            )
        if not self.trains_locally and (isinstance(client, DpSgd) or client.weight_noise):
            raise ConfigError(
                "process=fed_sgd trains nothing on clients: use client=standard without weight_noise, or process=fed_avg."
            )
        if not self.trains_locally and not (isinstance(client_optimizer, Sgd) and client_optimizer.momentum == 0):
            raise ConfigError(
                "process=fed_sgd takes its step on the server and has no use for a client optimizer: "
                "leave client_optimizer=sgd, and choose a server_optimizer."
            )

    def check_model(self, model: Any) -> None:
        """Raises `ConfigError` for a model that this process cannot train."""
        if isinstance(model, Adversaries):
            raise ConfigError(
                "this model is a pair of networks, a generator and a discriminator: use process=gan, or a classifier (model=mlp)."
            )

    def weigh_by_examples(self, takes_weights: bool) -> bool:
        """Whether a client counts in proportion to its examples."""
        return self.client_weighting == "examples" or (self.client_weighting == "auto" and takes_weights)

    @abc.abstractmethod
    def build(self, parts: Ingredients) -> tff.learning.templates.LearningProcess:
        """The TFF process."""


class FedAvg(Process):
    """Federated averaging (McMahan et al. 2017, algorithm 1), its server step generalised by Reddi et al. 2021.

    Each client trains on its own examples from the global weights; the mean of what they moved by is the server
    optimizer's gradient. The server optimizer SGD at learning rate 1 is the original.
    """

    vouches: ClassVar[tuple[Promise, ...]] = ("privacy",)

    def build(self, parts: Ingredients) -> tff.learning.templates.LearningProcess:
        return _compose_local_training(parts, self, proximal_strength=0.0)


class LocalOnly(FedAvg):
    """No federation: each client trains a model of its own on its own examples. `fedlab.run.local_only` runs it.

    A client's rounds are those of FedAvg with this client alone, server optimizer included; nothing is sent.
    """

    vouches: ClassVar[tuple[Promise, ...]] = ("privacy",)
    aggregates: ClassVar[bool] = False
    trains_a_classifier: ClassVar[bool] = False
    name: ClassVar[str] = "local_only"


class FedProx(Process):
    """FedAvg with the term μ/2 · |w − w_global|² in each client's objective (Li et al. 2020, equation 2)."""

    vouches: ClassVar[tuple[Promise, ...]] = ("privacy",)

    proximal_strength: NonNegativeFloat = 0.01  # μ; 0 is FedAvg

    def build(self, parts: Ingredients) -> tff.learning.templates.LearningProcess:
        return _compose_local_training(parts, self, self.proximal_strength)


class FedSgd(Process):
    """FedSGD (McMahan et al. 2017): each client sends the gradient over all its examples, the server takes the step.

    `client.batch_size` only bounds memory: the gradient does not depend on it. The learning rate is the server's.
    """

    vouches: ClassVar[tuple[Promise, ...]] = ("privacy",)
    trains_locally: ClassVar[bool] = False

    def build(self, parts: Ingredients) -> tff.learning.templates.LearningProcess:
        from fedlab.process import client_work, compose

        update = client_work.full_gradient(parts.model, parts.client.batch_size)
        return compose.learning_process(parts, update, self.weigh_by_examples(parts.takes_weights))


class Gan(Process):
    """A federated GAN (Augenstein et al. 2020): clients train the discriminator, the server the generator, on noise alone.

    Wasserstein loss with gradient penalty (Gulrajani et al. 2017). `client` and `client_optimizer` are about the discriminator's
    local training, `server_optimizer` applies its update; then the generator takes `generator_steps` steps, of an optimizer
    whose state lasts from round to round.
    """

    vouches: ClassVar[tuple[Promise, ...]] = ("privacy",)
    trains_a_classifier: ClassVar[bool] = False

    gradient_penalty: NonNegativeFloat = 10.0  # λ
    weight_decay: NonNegativeFloat = 1.25e-5  # times the sum of the squared kernels of the network in training
    generator_steps: PositiveInt = 6  # a round
    generator_batch_size: PositiveInt = 32
    generator_optimizer: Literal["sgd", "adam"] = "sgd"
    generator_learning_rate: PositiveFloat = 0.005
    generator_beta_1: Annotated[float, Field(ge=0, lt=1)] = 0.5  # of Adam
    generator_beta_2: Annotated[float, Field(ge=0, lt=1)] = 0.9

    @property
    def generator_steps_by(self) -> Optimizer:
        """The generator's optimizer."""
        if self.generator_optimizer == "sgd":
            return Sgd(learning_rate=self.generator_learning_rate)
        return Adam(learning_rate=self.generator_learning_rate, beta_1=self.generator_beta_1, beta_2=self.generator_beta_2)

    def check(self, client: LocalTraining, client_optimizer: Optimizer, why_uniform: str | None = None) -> None:
        super().check(client, client_optimizer, why_uniform)
        if isinstance(client, DpSgd) or client.weight_noise:
            raise ConfigError(
                "process=gan protects users, not examples: use client=standard without weight_noise, and privacy=gaussian_fixed."
            )

    def check_model(self, model: Any) -> None:
        if not isinstance(model, Adversaries):
            raise ConfigError(
                "process=gan trains a generator against a discriminator: use model=gan_small, model=gan_published, or a class of "
                "your own that derives from fedlab.models.Adversaries."
            )

    def build(self, parts: Ingredients) -> tff.learning.templates.LearningProcess:
        from fedlab.process import adversarial, compose

        update = adversarial.discriminator_training(parts.model, parts.client_optimizer.build(), parts.client, self)
        finalizer = adversarial.finalizer_process(parts.model, parts.server_optimizer.build(), self)
        return compose.learning_process(parts, update, self.weigh_by_examples(parts.takes_weights), finalizer)


def _compose_local_training(
    parts: Ingredients, process: Process, proximal_strength: float
) -> tff.learning.templates.LearningProcess:
    from fedlab.process import client_work, compose

    update = client_work.local_training(
        parts.model, parts.client_optimizer.build(), parts.client, proximal_strength=proximal_strength
    )
    return compose.learning_process(parts, update, process.weigh_by_examples(parts.takes_weights))
