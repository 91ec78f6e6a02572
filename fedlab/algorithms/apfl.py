"""APFL: each client predicts with a mixture of its own model and the global one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from fedlab.algorithms.base import OwnModels, Parts
from fedlab.spec import Promise

if TYPE_CHECKING:
    from fedlab.algorithms.keeping import Keeping


class Apfl(OwnModels):
    """APFL (Deng et al. 2020, algorithm 1) with FedAvg for the global model w.

    A client keeps its own model v, and predicts with the mixture α v + (1 − α) w. In each local step, w follows ∇F(w) as in
    FedAvg, and v follows the gradient of the mixture's loss with respect to v, α ∇F(α v + (1 − α) w), on the same batch. α = 0 is
    FedAvg; α = 1 is training alone. The client sends the update of w; v and α never leave it. The metrics of training are those
    of the global model. Batch normalization: w has the statistics of its own batches, which the server averages; the mixture has
    those of its own, which stay on the client.
    """

    vouches: ClassVar[tuple[Promise, ...]] = ("privacy",)
    choice: ClassVar[str] = "apfl"

    mixture: Annotated[float, Field(ge=0, le=1)] = 0.5  # α of every client before its first step
    # True: in each step, α also follows the derivative of the mixture's loss, ⟨∇F(α v + (1 − α) w), v − w⟩, at the client's
    # learning rate, and stays in [0, 1] (the adaptive α of the paper)
    adaptive: bool = False

    def keeping(self, parts: Parts) -> Keeping:
        import numpy as np
        import tensorflow as tf

        from fedlab.algorithms import client_work, keeping
        from fedlab.algorithms.steps import first_steps

        model, optimizer, options = parts.model, parts.client_optimizer.build(), parts.client
        client_work.check_unconstrained(model, "apfl")
        count, rate = len(model.initial_weights[0]), parts.client_optimizer.learning_rate

        def update(received: Any, fixed: Any, data: Any, factor: Any, mine: Any, _: Any) -> tuple:
            carried, apply = first_steps(optimizer, received, factor)

            def step(x: Any, y: Any, w: Any, v: Any, a: Any, moved: Any, own: Any, of_w: Any, of_v: Any, metrics: Any) -> tuple:
                """`moved`, `own`: the statistics of w, and of the mixture."""
                gradient, moved, sums = client_work.batch_gradient(model, w, model.moved(fixed, moved), x, y, metrics)
                of_mixture, own, _ = client_work.batch_gradient(model, mixed(a, v, w), model.moved(fixed, own), x, y, metrics)
                new_a = a
                if self.adaptive:
                    slope = sum(tf.reduce_sum(g * (mine - common)) for g, mine, common in zip(of_mixture, v, w))
                    new_a = tf.clip_by_value(a - rate * factor * slope, 0.0, 1.0)
                w, of_w = apply(w, gradient, of_w)
                v, of_v = apply(v, tuple(a * g for g in of_mixture), of_v)
                return w, v, new_a, moved, own, of_w, of_v, sums

            a, v, own = divided(mine)
            before = model.statistics_of(fixed)
            start = (received, v, a, before, own, carried, carried, model.initialize_metrics_state())
            trained = client_work.for_each_batch(step, start, data, options.batch_size, options.max_local_steps)
            w, v, a, moved, own, _, _, metrics = trained
            return tuple(w0 - w1 for w0, w1 in zip((*received, *before), (*w, *moved))), metrics, (a, *v, *own), ()

        def mixed(a: Any, v: Any, w: Any) -> tuple:
            return tuple(a * own + (1 - a) * common for own, common in zip(v, w))

        def divided(mine: Any) -> tuple:
            """Returns what a client keeps: α, the weights of v, and the statistics of the mixture."""
            return mine[0], tuple(mine[1 : 1 + count]), tuple(mine[1 + count :])

        def own_model(received: Any, mine: Any) -> tuple:
            a, v, own = divided(mine)
            return (*mixed(a, v, received[:count]), *own)

        return keeping.Keeping((np.array(self.mixture, np.float32), *model.trained), update, own_model=own_model)
