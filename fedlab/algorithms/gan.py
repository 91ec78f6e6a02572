"""A federated GAN: clients train the discriminator, the server the generator, on noise alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from fedlab.algorithms.base import Parts, Process, Stages, check_no_noise_on_clients
from fedlab.algorithms.optimizers import Adam, Optimizer, Sgd
from fedlab.spec import Promise
from fedlab.tasks import Generation, Task

if TYPE_CHECKING:
    import tensorflow_federated as tff


class Gan(Process):
    """A federated GAN (Augenstein et al. 2020): clients train the discriminator, the server the generator, on noise alone.

    Wasserstein loss with gradient penalty (Gulrajani et al. 2017). `client` and `client_optimizer` apply to the discriminator's
    local training, `server_optimizer` applies its update; then the generator takes `generator_steps` steps of an optimizer whose
    state continues from round to round.
    """

    vouches: ClassVar[tuple[Promise, ...]] = ("privacy",)
    task: ClassVar[Task | None] = Generation()

    gradient_penalty: NonNegativeFloat = 10.0  # λ
    weight_decay: NonNegativeFloat = 1.25e-5  # factor of the sum of the squared kernels of the network in training
    generator_steps: PositiveInt = 6  # per round
    generator_batch_size: PositiveInt = 32
    generator_optimizer: Literal["sgd", "adam"] = "sgd"
    generator_learning_rate: PositiveFloat = 0.005
    generator_beta_1: Annotated[float, Field(ge=0, lt=1)] = 0.5  # for Adam
    generator_beta_2: Annotated[float, Field(ge=0, lt=1)] = 0.9

    @property
    def why_no_init(self) -> str:
        return "process=gan trains two networks, and both start from weights that are drawn: leave it out."

    @property
    def generator_steps_by(self) -> Optimizer:
        """Returns the generator's optimizer."""
        if self.generator_optimizer == "sgd":
            return Sgd(learning_rate=self.generator_learning_rate)
        return Adam(learning_rate=self.generator_learning_rate, beta_1=self.generator_beta_1, beta_2=self.generator_beta_2)

    def check(self, stages: Stages) -> None:
        super().check(stages)
        check_no_noise_on_clients(
            stages,
            "process=gan protects users, not examples: use client=standard without weight_noise, and privacy=gaussian_fixed.",
        )

    def build(self, parts: Parts) -> tff.learning.templates.LearningProcess:
        from fedlab.algorithms import adversarial, composing

        update = adversarial.discriminator_training(parts.model, parts.client_optimizer.build(), parts.client, self)
        finalizer = adversarial.finalizer_process(parts.model, parts.server_optimizer.build(), self)
        return composing.learning_process(parts, update, self.weigh_by_examples(parts.takes_weights), finalizer)
