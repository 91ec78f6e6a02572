"""The data of a configuration, divided among clients as `fedlab train` divides it."""

from __future__ import annotations

from omegaconf import DictConfig

from fedlab.config.composing import build
from fedlab.run.inputs import divided
from fedlab.run.rules import check_classes
from fedlab.types import Dataset, Partition


def load_divided(config: DictConfig) -> tuple[Dataset, Dataset, Partition, int]:
    """Returns the data before and after corruption, its partition after the filter, and their seed."""
    source, partitioner = build(config, "data"), build(config, "partition")
    seed = partitioner.data_seed(config.seed)
    corruption = build(config, "corruption")
    clean = source.load(seed)
    check_classes({"partition": partitioner, "corruption": corruption}, clean)
    dataset, partition = divided(clean, partitioner, corruption, build(config, "filter"), config.evaluation.holdout, config.seed)
    return clean, dataset, partition, seed
