"""MimeLite: clients step along the server's momentum, which their own steps do not change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from fedlab.algorithms.base import KeepingProcess, Parts, Stages, check_no_noise_on_clients, check_nothing_is_private, check_sgd

if TYPE_CHECKING:
    from fedlab.algorithms.keeping import Keeping


class MimeLite(KeepingProcess):
    """MimeLite with momentum SGD (Karimireddy et al. 2021, algorithm 1): a step is y ← y − η ((1 − β) g + β m).

    The server sends its momentum m, and clients do not change it. A client sends its update and its gradient over all of its
    examples at the received weights; the server averages both, and m ← (1 − β) · mean gradient + β m. So a client sends and
    receives twice what it does in FedAvg. β = 0 is FedAvg. Mime, in addition, corrects each step by gradients of the same cohort,
    for which a round would have to reach its clients twice.
    """

    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9  # β

    def check(self, stages: Stages) -> None:
        super().check(stages)
        check_nothing_is_private("mime_lite", "gradients", stages)
        check_no_noise_on_clients(stages, "process=mime_lite sends plain gradients: use client=standard without weight_noise.")
        check_sgd(
            stages.client_optimizer,
            "process=mime_lite steps along the server's momentum: use client_optimizer=sgd with momentum 0, and "
            "process.momentum.",
        )

    def keeping(self, parts: Parts) -> Keeping:
        import tensorflow as tf

        from fedlab.algorithms import client_work, keeping

        model, options, optimizer, beta = parts.model, parts.client, parts.client_optimizer.build(), self.momentum
        gradient = client_work.whole_gradient(model, options.batch_size)
        by_examples = self.weigh_by_examples(parts.takes_weights)

        def update(trainable: Any, non_trainable: Any, data: Any, factor: Any, mine: Any, shared: Any) -> tuple:
            momentum = shared[1:]

            def along(g: Any, weights: Any, received: Any) -> tuple:
                return tuple((1 - beta) * a + beta * m for a, m in zip(g, momentum))

            delta, metrics = client_work.local_training(model, optimizer, options, along)(trainable, non_trainable, data, factor)
            whole = gradient(trainable, non_trainable, data)
            weight = client_work.as_float(tf.shape(data["y"])[0]) if by_examples else tf.ones([])
            return delta, metrics, mine, (weight, *(weight * g for g in whole[: len(trainable)]))

        def advance(shared: Any, total: Any) -> tuple:
            weight, *gradients = total
            new = (tf.where(weight > 0, (1 - beta) * g / weight + beta * m, m) for g, m in zip(gradients, shared[1:]))
            return (shared[0], *new)

        zeros = tuple(0 * w for w in model.initial_weights[0])
        return keeping.Keeping((), update, (model.initial_weights[0][0].dtype.type(0), *zeros), advance)
