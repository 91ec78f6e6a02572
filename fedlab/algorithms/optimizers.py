"""Optimizers, for clients and for the server, and learning-rate schedules over rounds."""

from __future__ import annotations

import abc
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from fedlab.spec import Spec

if TYPE_CHECKING:
    import tensorflow_federated as tff

Decay = Annotated[float, Field(ge=0, lt=1)]


class Optimizer(Spec):
    """A gradient-based optimizer; `build()` returns TFF's."""

    makes: ClassVar[Mapping[str, tuple[str, ...]]] = {"build": ("tensorflow_federated.learning.optimizers.Optimizer",)}

    learning_rate: PositiveFloat

    @abc.abstractmethod
    def build(self) -> tff.learning.optimizers.Optimizer: ...


class Sgd(Optimizer):
    """Stochastic gradient descent; with `momentum` > 0, heavy-ball momentum."""

    momentum: Decay = 0.0

    def build(self) -> tff.learning.optimizers.Optimizer:
        import tensorflow_federated as tff

        return tff.learning.optimizers.build_sgdm(self.learning_rate, momentum=self.momentum or None)


class Adam(Optimizer):
    """Adam (Kingma & Ba 2015). On the server: FedAdam (Reddi et al. 2021), whose τ is `epsilon`."""

    beta_1: Decay = 0.9
    beta_2: Decay = 0.999
    epsilon: PositiveFloat = 1e-7

    def build(self) -> tff.learning.optimizers.Optimizer:
        import tensorflow_federated as tff

        return tff.learning.optimizers.build_adam(self.learning_rate, self.beta_1, self.beta_2, self.epsilon)


class Yogi(Optimizer):
    """Yogi (Zaheer et al. 2018). On the server: FedYogi (Reddi et al. 2021)."""

    beta_1: Decay = 0.9
    beta_2: Decay = 0.999
    epsilon: PositiveFloat = 1e-3
    initial_preconditioner: NonNegativeFloat = 1e-6

    def build(self) -> tff.learning.optimizers.Optimizer:
        import tensorflow_federated as tff

        return tff.learning.optimizers.build_yogi(
            self.learning_rate, self.beta_1, self.beta_2, self.epsilon, self.initial_preconditioner
        )


class Adagrad(Optimizer):
    """Adagrad (Duchi et al. 2011). On the server: FedAdagrad (Reddi et al. 2021)."""

    initial_preconditioner: NonNegativeFloat = 0.1
    epsilon: PositiveFloat = 1e-7

    def build(self) -> tff.learning.optimizers.Optimizer:
        import tensorflow_federated as tff

        return tff.learning.optimizers.build_adagrad(self.learning_rate, self.initial_preconditioner, self.epsilon)


class Schedule(Spec):
    """The factor of the client learning rate in each round. `factor` takes and returns TensorFlow scalars.

    Only rounds in which at least one client reports are counted.
    """

    makes: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "factor": (
            "tensorflow.Tensor",
            "builtins.float",
            "builtins.int",
            "numpy.number",
        )
    }

    @abc.abstractmethod
    def factor(self, round_num: Any) -> Any:
        """Returns the factor of round `round_num` (float, 1 for the first)."""


class Constant(Schedule):
    """The factor 1 in every round."""

    def factor(self, round_num: Any) -> Any:
        return 1.0 + 0.0 * round_num


class Exponential(Schedule):
    """Multiplies by `decay_rate` once every `decay_rounds` rounds: in steps, or smoothly with `staircase: false`."""

    decay_rate: Annotated[float, Field(gt=0, le=1)]
    decay_rounds: PositiveInt = 1
    staircase: bool = True

    def factor(self, round_num: Any) -> Any:
        periods = (round_num - 1) // self.decay_rounds if self.staircase else (round_num - 1) / self.decay_rounds
        return self.decay_rate**periods


class Cosine(Schedule):
    """Half a cosine from 1 at the first round to `final_factor` at round `decay_rounds` + 1 and later."""

    decay_rounds: PositiveInt
    final_factor: Annotated[float, Field(ge=0, le=1)] = 0.0

    def factor(self, round_num: Any) -> Any:
        import tensorflow as tf

        progress = tf.minimum((round_num - 1) / self.decay_rounds, 1.0)
        return self.final_factor + (1 - self.final_factor) * 0.5 * (1 + tf.cos(math.pi * progress))
