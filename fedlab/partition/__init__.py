"""How training examples are divided among clients. A partitioner is called as `partitioner(examples, seed) -> Partition`."""

from fedlab.partition.base import Partitioner
from fedlab.partition.by_label import Dirichlet, Shards
from fedlab.partition.by_size import Iid, Quantity, Single
from fedlab.partition.by_user import ByUser
from fedlab.partition.held_out import hold_out
from fedlab.partition.heterogeneity import Heterogeneity, heterogeneity, label_counts

__all__ = [
    "ByUser",
    "Dirichlet",
    "Heterogeneity",
    "Iid",
    "Partitioner",
    "Quantity",
    "Shards",
    "Single",
    "heterogeneity",
    "hold_out",
    "label_counts",
]
