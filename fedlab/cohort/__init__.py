"""Cohorts: the clients of a round, its dropouts, and the order in which each client visits its examples."""

from fedlab.cohort.buffered import Buffered
from fedlab.cohort.samplers import All, CohortSampler, FixedSize, InTurn, Poisson, Uniform
from fedlab.cohort.visiting_order import visiting_order

__all__ = ["All", "Buffered", "CohortSampler", "FixedSize", "InTurn", "Poisson", "Uniform", "visiting_order"]
