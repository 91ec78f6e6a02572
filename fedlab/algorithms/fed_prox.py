"""FedProx: federated averaging with a proximal term that pulls clients towards the global weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import NonNegativeFloat

from fedlab.algorithms.base import Parts, Process
from fedlab.spec import Promise

if TYPE_CHECKING:
    import tensorflow_federated as tff


class FedProx(Process):
    """FedAvg with the term μ/2 · |w − w_global|² in each client's objective (Li et al. 2020, equation 2)."""

    vouches: ClassVar[tuple[Promise, ...]] = ("privacy",)
    sends_models: ClassVar[bool] = True

    proximal_strength: NonNegativeFloat = 0.01  # μ; 0 is FedAvg

    def build(self, parts: Parts) -> tff.learning.templates.LearningProcess:
        from fedlab.algorithms import client_work, composing

        def pulled_back(gradient: Any, weights: Any, received: Any) -> tuple:
            return tuple(g + self.proximal_strength * (w - w0) for g, w, w0 in zip(gradient, weights, received))

        correct = pulled_back if self.proximal_strength else None
        update = client_work.local_training(parts.model, parts.client_optimizer.build(), parts.client, correct)
        return composing.learning_process(parts, update, self.weigh_by_examples(parts.takes_weights))
