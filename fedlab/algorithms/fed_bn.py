"""FedBN: clients share all layers but batch normalization."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from fedlab.algorithms.base import KeepingProcess, Parts, Stages, check_no_noise_on_clients
from fedlab.errors import ConfigError
from fedlab.spec import Promise

if TYPE_CHECKING:
    from fedlab.algorithms.keeping import Keeping


class FedBn(KeepingProcess):
    """FedBN (Li et al. 2021, algorithm 1): a client keeps its batch normalization, and sends the update of all other layers.

    A batch normalization has weights (γ, β) and statistics (moving mean and variance); none of them leaves the client. The other
    algorithms average both over clients.
    """

    vouches: ClassVar[tuple[Promise, ...]] = ("privacy",)
    personal: ClassVar[bool] = True

    @property
    def keeps(self) -> str:
        return "batch normalization"

    def check(self, stages: Stages) -> None:
        super().check(stages)
        check_no_noise_on_clients(
            stages, "process=fed_bn trains what a client keeps without noise: use client=standard without weight_noise."
        )

    def keeping(self, parts: Parts) -> Keeping:
        import tensorflow as tf

        from fedlab.algorithms import heads
        from fedlab.models.lifting import parts as parts_of

        assert parts.keras is not None, "a Keras model"
        layers = [part for part in parts_of(parts.keras) if isinstance(part, tf.keras.layers.BatchNormalization)]
        own = {variable.ref() for layer in layers for variable in layer.variables}
        variables = heads.trained_variables(parts)
        sent, kept = heads.divided(parts.model, lambda i: variables[i].ref() in own)
        if not kept.mine:
            raise ConfigError("process=fed_bn: the model has no batch normalization to keep: use process=fed_avg.")
        return heads.keeping(parts, sent, kept)
