"""pFedMe: the gradient of a Moreau envelope moves each client's copy of the global model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import PositiveFloat, PositiveInt

from fedlab.algorithms.base import OwnModels, Parts
from fedlab.spec import Promise

if TYPE_CHECKING:
    from fedlab.algorithms.keeping import Keeping


class PFedMe(OwnModels):
    """pFedMe (Dinh et al. 2020, algorithm 1).

    For each batch, a client takes `personal_steps` steps of `client_optimizer` along ∇F(θ) + λ (θ − w), and then moves its copy w
    of the global model towards its own model θ: w ← w − η λ (w − θ). It sends the update of w and keeps θ. θ starts a round at
    the received w. β of the paper is the learning rate of `server_optimizer=sgd`. FedAvg by plain SGD is the case of one personal
    step and η λ = 1. The metrics of training are those of θ, over each personal step. Batch normalization: w is never applied to
    an example, so the statistics that a client sends are those of θ, which it also keeps.
    """

    vouches: ClassVar[tuple[Promise, ...]] = ("privacy",)
    choice: ClassVar[str] = "p_fed_me"

    personal_strength: PositiveFloat = 15.0  # λ
    personal_steps: PositiveInt = 5  # K, per batch
    local_learning_rate: PositiveFloat = 0.01  # η; client_optimizer.learning_rate is the one of the personal steps

    def keeping(self, parts: Parts) -> Keeping:
        import tensorflow as tf

        from fedlab.algorithms import client_work, keeping
        from fedlab.algorithms.steps import first_steps

        model, optimizer, options = parts.model, parts.client_optimizer.build(), parts.client
        client_work.check_unconstrained(model, "p_fed_me")

        def update(received: Any, fixed: Any, data: Any, factor: Any, mine: Any, _: Any) -> tuple:
            carried, apply = first_steps(optimizer, received, factor)
            share = self.local_learning_rate * factor * self.personal_strength  # η λ

            def step(x: Any, y: Any, w: Any, theta: Any, moved: Any, carried: Any, metrics: Any) -> tuple:
                def personal(k: Any, theta: Any, moved: Any, carried: Any, metrics: Any) -> tuple:
                    now = model.moved(fixed, moved)
                    gradient, moved, metrics = client_work.batch_gradient(model, theta, now, x, y, metrics)
                    pulled = tuple(g + self.personal_strength * (own - common) for g, own, common in zip(gradient, theta, w))
                    theta, carried = apply(theta, pulled, carried)
                    return k + 1, theta, moved, carried, metrics

                begin = (tf.constant(0), theta, moved, carried, metrics)
                found = tf.while_loop(lambda k, *_: k < self.personal_steps, personal, begin, parallel_iterations=1)
                _, theta, moved, carried, metrics = found
                return tuple(common - share * (common - own) for common, own in zip(w, theta)), theta, moved, carried, metrics

            before = model.statistics_of(fixed)
            start = (received, received, before, carried, model.initialize_metrics_state())
            trained = client_work.for_each_batch(step, start, data, options.batch_size, options.max_local_steps)
            w, theta, moved, _, metrics = trained
            return tuple(w0 - w1 for w0, w1 in zip((*received, *before), (*w, *moved))), metrics, (*theta, *moved), ()

        return keeping.Keeping(model.trained, update, own_model=lambda received, kept: kept)
