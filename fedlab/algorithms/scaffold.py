"""SCAFFOLD: control variates against the drift of clients whose data differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from fedlab.algorithms.base import KeepingProcess, Parts, Stages, check_no_noise_on_clients, check_nothing_is_private, check_sgd
from fedlab.errors import ConfigError

if TYPE_CHECKING:
    from fedlab.algorithms.keeping import Keeping


class Scaffold(KeepingProcess):
    """SCAFFOLD (Karimireddy et al. 2020, algorithm 1): each step of client i follows g(y) − c_i + c.

    A client keeps its control variate c_i; the server keeps c, the mean of all clients' variates; all begin at zero.
    `client_weighting` applies to both means, of updates and of variates. The paper weighs all clients equally; with different
    weights for the two means, clients would pull towards another objective than the server's. A client sends its update and the
    change of c_i, which has the same size: twice FedAvg's traffic in both directions. The changes are neither clipped nor noised,
    so no privacy mechanism protects them.
    """

    # difference (option II): c_i − c + (x − y) / (K η). gradient (option I): the gradient over all of the client's examples at x
    variate: Literal["difference", "gradient"] = "difference"

    @property
    def keeps(self) -> str:
        return "control variates"

    def check(self, stages: Stages) -> None:
        super().check(stages)
        check_nothing_is_private("scaffold", "changes of variates", stages)
        check_no_noise_on_clients(stages, "process=scaffold corrects plain steps: use client=standard without weight_noise.")
        check_sgd(
            stages.client_optimizer,
            "process=scaffold takes the way that a client has gone for a sum of gradients: use client_optimizer=sgd with "
            "momentum 0; server_optimizer is free.",
        )

    def keeping(self, parts: Parts) -> Keeping:
        from fedlab.algorithms import keeping

        if parts.model.constraints and self.variate == "difference":
            raise ConfigError(
                "process=scaffold takes the way that a client has gone for a sum of gradients, and a layer of this model has a "
                "constraint, which changes the way: use process.variate=gradient."
            )
        return keeping.Keeping(self.zeros(parts), self.client(parts), self.zeros(parts), self.server(parts))

    def zeros(self, parts: Parts) -> tuple:
        """Returns an initial variate."""
        return tuple(0 * w for w in parts.model.initial_weights[0])

    def client(self, parts: Parts) -> Any:
        """Returns the client step: the update, and the change of the variate."""
        import tensorflow as tf

        from fedlab.algorithms import client_work

        model, options, optimizer = parts.model, parts.client, parts.client_optimizer.build()
        gradient = client_work.whole_gradient(model, options.batch_size)
        by_examples = self.weigh_by_examples(parts.takes_weights)

        def update(trainable: Any, non_trainable: Any, data: Any, factor: Any, mine: Any, common: Any) -> tuple:
            def corrected(g: Any, weights: Any, received: Any) -> tuple:
                return tuple(a - own + c for a, own, c in zip(g, mine, common))

            train = client_work.local_training(model, optimizer, options, corrected)
            delta, metrics = train(trainable, non_trainable, data, factor)
            if self.variate == "gradient":
                variate = gradient(trainable, non_trainable, data)
            else:
                steps = client_work.num_steps(data, options.batch_size, options.max_local_steps)
                way = float(parts.client_optimizer.learning_rate) * factor * client_work.as_float(steps)
                moved = way > 0  # False if a schedule has reached 0
                variate = tuple(tf.where(moved, own - c + d / way, own) for own, c, d in zip(mine, common, delta))
            variate = self.renewed(mine, variate)
            share = parts.num_clients / parts.num_examples * client_work.as_float(tf.shape(data["y"])[0]) if by_examples else 1.0
            return delta, metrics, variate, tuple(share * (new - old) for new, old in zip(variate, mine))

        return update

    def renewed(self, old: tuple, new: tuple) -> tuple:
        """Returns the new variate of a client."""
        return new

    def server(self, parts: Parts) -> Any:
        """Returns the server's update of its variate from the sum of clients' changes, divided by the number of all clients."""
        return lambda common, sums: tuple(c + total / parts.num_clients for c, total in zip(common, sums))
