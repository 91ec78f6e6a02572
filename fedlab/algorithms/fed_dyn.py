"""FedDyn: a linear and a quadratic term in each client's loss, so that local optima agree with the global one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import PositiveFloat

from fedlab.algorithms.base import KeepingProcess, Parts, Stages, check_no_noise_on_clients, check_nothing_is_private, check_sgd

if TYPE_CHECKING:
    from fedlab.algorithms.keeping import Keeping


class FedDyn(KeepingProcess):
    """FedDyn (Acar et al. 2021, algorithm 1): client i minimises F_i(y) − ⟨λ_i, y⟩ + α/2 ‖y − x‖², then λ_i ← λ_i − α (y − x).

    The server's h ← h − α/m · Σ (y − x) over the cohort, where m is the number of all clients, and x = mean of y − h / α. A
    client keeps λ_i, and begins at x, which it computes from the mean of y and from h: it receives and sends twice what it does
    in FedAvg. The model that is evaluated and saved is the mean of y, which equals x where h is 0. All clients count alike.
    """

    client_weighting: Literal["auto", "uniform"] = "auto"  # both give all clients the same weight
    regularization: PositiveFloat = 0.1  # α

    @property
    def keeps(self) -> str:
        return "linear terms"

    def weigh_by_examples(self, takes_weights: bool) -> bool:
        return False

    def check(self, stages: Stages) -> None:
        super().check(stages)
        check_nothing_is_private("fed_dyn", "the way of each client for the server's h", stages)
        check_no_noise_on_clients(stages, "process=fed_dyn keeps plain ways: use client=standard without weight_noise.")
        check_sgd(
            stages.server_optimizer,
            "process=fed_dyn takes the mean of the clients' models: use server_optimizer=sgd with learning rate 1 and "
            "momentum 0.",
            learning_rate=1.0,
        )

    def keeping(self, parts: Parts) -> Keeping:
        from fedlab.algorithms import client_work, keeping

        model, options, optimizer, alpha = parts.model, parts.client, parts.client_optimizer.build(), self.regularization
        client_work.check_unconstrained(model, "fed_dyn")
        count = len(model.initial_weights[0])

        def update(mean: Any, fixed: Any, data: Any, factor: Any, linear: Any, h: Any) -> tuple:
            begin = tuple(w - a / alpha for w, a in zip(mean, h))

            def dynamic(gradient: Any, weights: Any, received: Any) -> tuple:
                return tuple(g - own + alpha * (w - x) for g, own, w, x in zip(gradient, linear, weights, received))

            back, metrics = client_work.local_training(model, optimizer, options, dynamic)(begin, fixed, data, factor)
            way = tuple(-b for b in back[:count])  # y − x; the statistics of batch normalization follow after `count`
            kept = tuple(own - alpha * w for own, w in zip(linear, way))
            return (*(w - x - d for w, x, d in zip(mean, begin, way)), *back[count:]), metrics, kept, way

        def advance(h: Any, ways: Any) -> tuple:
            return tuple(a - alpha / parts.num_clients * total for a, total in zip(h, ways))

        zeros = tuple(0 * w for w in model.initial_weights[0])
        return keeping.Keeping(zeros, update, zeros, advance)
