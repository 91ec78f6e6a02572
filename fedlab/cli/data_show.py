"""`fedlab data show`: shows how the data of a run is divided among its clients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fedlab.console.output import writable
from fedlab.console.parsing import Parser
from fedlab.errors import ConfigError, printable

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from fedlab.types import Dataset, Partition

_LABELS = 20  # classes that are named


def parser() -> Parser:
    """Returns the parser."""
    made = Parser(
        "fedlab data show",
        description="Shows how the data of a run is divided among its clients; takes the overrides of fedlab train.",
        epilog="example: fedlab data show data=mnist partition=shards partition.num_clients=100 --png partition.png",
    )
    made.add_argument("overrides", nargs="*", default=[], metavar="OVERRIDE", help="as for fedlab train, such as data=mnist")
    made.add_config_dir()
    made.add_file("--png", help="also write a heat map of clients and classes")
    return made


def main(argv: Sequence[str]) -> int:
    """Loads and divides the data as `fedlab train` does with the same overrides; prints the sizes. Raises `FedlabError`."""
    args = parser().parse(argv)
    png = writable("--png", args.png)
    import numpy as np
    from rich.console import Console
    from rich.table import Table

    from fedlab.config.composing import compose
    from fedlab.partition import heterogeneity, label_counts

    config = compose(args.overrides, args.config_dir)
    dataset, partition, seed = _divided(config)
    train, sizes = dataset.train, partition.sizes
    has_classes = train.task.num_classes is not None
    if png and not has_classes:
        raise ConfigError(f"--png {png}: the task of this data is {train.task.name}, and there are no classes to draw.")
    figures = heterogeneity(train.y, partition, train.num_classes) if has_classes else None
    heading = f"{dataset.name}, {config.partition._target_.rpartition('.')[2]}, seed {seed}"
    table = Table("", "min", "median", "max", title=heading, title_justify="left")
    spreads = {"examples per client": (sizes.min(), np.median(sizes), sizes.max())}
    if figures:
        spreads["classes per client"] = figures.classes
    for label, spread in spreads.items():
        table.add_row(label, *(f"{value:,.10g}" for value in spread))
    Console().print(table)
    print(f"{len(partition):,} clients hold {partition.sizes.sum():,} of {len(train):,} training examples")
    print(f"{len(dataset.test):,} examples are held out for testing")
    for column in dataset.columns:
        print(printable(f"column {_column(column)}"))
    if labels := getattr(train.task, "labels", None):
        named = ", ".join(f"{i} is {label}" for i, label in enumerate(labels[:_LABELS]))
        print(f"classes: {printable(named)}{', …' if len(labels) > _LABELS else ''}")
    if figures:
        print(f"mean label entropy {figures.mean_label_entropy:.3f} bits (0: one class each)")
        print(f"mean total variation {figures.mean_total_variation:.3f} from the global label distribution (0: equal)")
    if png:
        from fedlab.report.partition_plot import plot_partition

        plot_partition(label_counts(train.y, partition, train.num_classes), png, heading, partition.client_ids)
        print(f"heat map in {png}")
    return 0


def _column(encoding: Mapping[str, Any]) -> str:
    """Returns the encoding of a column in words."""
    if encoding["kind"] == "numeric":
        return "{column}: numbers, median {median:.4g}, mean {mean:.4g}, standard deviation {std:.4g}".format(**encoding)
    categories = encoding["categories"]
    shown = ", ".join(categories[:_LABELS]) + (", …" if len(categories) > _LABELS else "")
    return f"{encoding['column']}: {len(categories)} categories, {shown}"


def _divided(config: DictConfig) -> tuple[Dataset, Partition, int]:
    """Returns the data and its partition, after corruption and filter, and their seed."""
    from fedlab.config.composing import build
    from fedlab.fingerprint import fingerprints

    source, partitioner = build(config, "data"), build(config, "partition")
    seed = partitioner.data_seed(config.seed)
    dataset = source.load(seed)
    partition = partitioner(dataset.train, seed)
    dataset = build(config, "corruption")(dataset, partition, seed)
    return dataset, build(config, "filter")(dataset, partition, fingerprints), seed
