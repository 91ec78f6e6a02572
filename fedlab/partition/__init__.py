"""Partitioners divide training examples among clients. Called as `partitioner(examples, seed) -> Partition`."""

from fedlab.partition.base import Partitioner, checked
from fedlab.partition.by_label import Dirichlet, Pathological, Shards
from fedlab.partition.by_size import Iid, Quantity, Single
from fedlab.partition.by_user import ByUser
from fedlab.partition.held_out import hold_out, holds_nothing_out, num_held_out
from fedlab.partition.heterogeneity import Heterogeneity, heterogeneity, label_counts
from fedlab.partition.pachinko import Pachinko
from fedlab.partition.unseen import everybody

__all__ = [
    "ByUser",
    "Dirichlet",
    "Heterogeneity",
    "Iid",
    "Pachinko",
    "Partitioner",
    "Pathological",
    "Quantity",
    "Shards",
    "Single",
    "checked",
    "everybody",
    "heterogeneity",
    "hold_out",
    "holds_nothing_out",
    "num_held_out",
    "label_counts",
]
