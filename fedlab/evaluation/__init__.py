"""Evaluation: weights and data in, named numbers out. This module holds the options; it imports no TensorFlow."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveInt

from fedlab.spec import Spec

__all__ = ["Evaluation"]


class Evaluation(Spec):
    """What is measured besides the training metrics of each round."""

    batch_size: PositiveInt = 500  # examples evaluated at a time; changes no result
    per_client: bool = True  # at the end of a run, accuracy on each client's own examples
    # Share of its examples that each client keeps from training, to be evaluated on; 0: on those that it trains on
    holdout: Annotated[float, Field(ge=0, lt=1)] = 0.0
