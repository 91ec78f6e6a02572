"""Evaluation: weights and data in, named numbers out. This module holds the options; it imports no TensorFlow."""

from __future__ import annotations

from pydantic import PositiveInt

from fedlab.spec import Spec

__all__ = ["Evaluation"]


class Evaluation(Spec):
    """What is measured besides the training metrics of each round."""

    batch_size: PositiveInt = 500  # examples evaluated at a time; changes no result
    per_client: bool = True  # at the end of a run, accuracy on each client's own training examples
