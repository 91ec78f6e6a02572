"""Who takes part in a round, who drops out of it, and in what order each client visits its examples."""

from fedlab.cohort.samplers import All, CohortSampler, FixedSize, InTurn, Poisson, Uniform
from fedlab.cohort.visiting_order import visiting_order

__all__ = ["All", "CohortSampler", "FixedSize", "InTurn", "Poisson", "Uniform", "visiting_order"]
