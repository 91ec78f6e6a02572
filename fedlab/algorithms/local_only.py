"""Training without federation: the baseline for a federation."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from fedlab.algorithms.base import Algorithm, Parts, Setting, Stages, check_nothing_is_summed
from fedlab.algorithms.fed_avg import FedAvg
from fedlab.spec import Promise

if TYPE_CHECKING:
    from fedlab.algorithms.trainer import Trainer


class LocalOnly(Algorithm):
    """No federation: each client trains its own model on its own examples.

    A client's rounds are those of FedAvg with this client alone, including the server optimizer; nothing is sent. Clients that
    are in no cohort keep the initial model: use cohort=all.
    """

    vouches: ClassVar[tuple[Promise, ...]] = ("privacy",)
    personal: ClassVar[bool] = True
    waits: ClassVar[bool] = False

    def check(self, stages: Stages) -> None:
        super().check(stages)
        check_nothing_is_summed("local_only", stages)

    def start(self, parts: Parts, setting: Setting) -> Trainer:
        from fedlab.algorithms.trainer import LocalTrainer

        return LocalTrainer(FedAvg(client_weighting=self.client_weighting).build(parts), parts, setting)
