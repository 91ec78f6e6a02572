"""FedBuff: the server sums updates as they arrive, and steps once its buffer is full."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from fedlab.algorithms.base import Algorithm, Parts, Setting, Stages, check_no_noise_on_clients, check_nothing_is_private
from fedlab.errors import ConfigError
from fedlab.secure import Masked

if TYPE_CHECKING:
    from fedlab.algorithms.trainer import Trainer


class FedBuff(Algorithm):
    """FedBuff (Nguyen et al. 2022, algorithm 1), under the simulated clock of `clock` and with the cohorts of `cohort=buffered`.

    A client trains from the model that was the newest when it started. It multiplies its update by s(τ), for the τ server steps
    since then, and the server optimizer follows the mean of the updates in the buffer. If no update is stale, this is FedAvg. The
    server remembers `cohort.max_staleness` earlier versions of the model, in memory and in each checkpoint.
    """

    buffers: ClassVar[bool] = True

    # s(τ): sqrt is 1 / √(1 + τ), as in the paper; none is 1
    staleness_weighting: Literal["sqrt", "none"] = "sqrt"

    def check(self, stages: Stages) -> None:
        super().check(stages)
        check_nothing_is_private("fed_buff", "more updates from fast clients than from slow ones", stages)
        check_no_noise_on_clients(
            stages, "process=fed_buff has no account of clients' noise: use client=standard without weight_noise."
        )
        if isinstance(stages.secure, Masked):
            raise ConfigError(
                "process=fed_buff takes no secure=masked: the clients of a masked sum agree on keys before they train, and the "
                "clients of a buffer are not known before their updates arrive. Use secure=ckks or secure=plain."
            )
        if stages.secure.observe != "none":
            raise ConfigError(
                "process=fed_buff cannot be observed: a record has one model that the server sent, and the clients of a "
                "buffer received different ones. Use secure.observe=none."
            )

    def start(self, parts: Parts, setting: Setting) -> Trainer:
        import tensorflow as tf

        from fedlab.algorithms import client_work, versions

        train = client_work.local_training(parts.model, parts.client_optimizer.build(), parts.client)

        def update(trainable: Any, non_trainable: Any, data: Any, factor: Any, staleness: Any) -> tuple:
            delta, metrics = train(trainable, non_trainable, data, factor)
            if self.staleness_weighting == "sqrt":
                scale = 1 / tf.sqrt(1 + client_work.as_float(staleness))
                delta = tuple(scale * d for d in delta)
            return delta, metrics

        return versions.VersionsTrainer(update, self.weigh_by_examples(parts.takes_weights), parts, setting)
