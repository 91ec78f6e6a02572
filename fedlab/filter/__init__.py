"""Filters keep some of a partition's clients or examples for training, as listed in a file of `fedlab data filter`.

A filter is called as `filter(dataset, partition, fingerprints) -> Partition`.
"""

from fedlab.filter.base import Examples, Filter, NoFilter, Users
from fedlab.filter.files import Provenance, write_examples, write_users
from fedlab.filter.selection import Threshold, select_examples, select_users

__all__ = [
    "Examples",
    "Filter",
    "NoFilter",
    "Provenance",
    "Threshold",
    "Users",
    "select_examples",
    "select_users",
    "write_examples",
    "write_users",
]
