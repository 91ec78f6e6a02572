"""Differential testing of two models, client by client, after Herbold & Tunkel 2023. This module holds the options.

`statistics` defines every metric, `client_tests` the verdict; both take arrays and import no TensorFlow.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from fedlab.spec import Spec

__all__ = ["ArmsTest", "Difftest", "NoDifftest"]

Share = Annotated[float, Field(ge=0, lt=1)]


class ArmsTest(Spec):
    """The base class of the options for a comparison of two arms."""


class NoDifftest(ArmsTest):
    """Compares nothing."""


class Difftest(ArmsTest):
    """Compares two arms of a run after every `every` rounds and after the last.

    `data`: "clients", every client's own examples; or "test", the test set, as one client. `arms`: the names of a, the
    reference, and of b; None: the first two. `score_tolerance`: class probabilities that differ by no more count as equal.
    `tolerance`: the share of a client's examples by which the models may differ, see `compare` in `client_tests.py`; with 0 only
    equal scores are equal. `alpha`: the chance, per round, of a false verdict `different`; intervals are at 1 − alpha.
    `bootstrap`: resamples per interval. `scores`: number of pairs of scores that are kept for the report.
    """

    needs_classes: ClassVar[bool] = True

    every: PositiveInt = 1
    data: Literal["clients", "test"] = "clients"
    arms: tuple[str, str] | None = None
    score_tolerance: Share = 1e-3
    tolerance: Share = 0.02
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.05
    bootstrap: Annotated[int, Field(ge=100)] = 2000
    scores: NonNegativeInt = 1000

    @model_validator(mode="after")
    def _two_arms(self) -> Difftest:
        if self.arms and self.arms[0] == self.arms[1]:
            raise ValueError(f"arms must name two different arms, got {list(self.arms)}")
        return self
