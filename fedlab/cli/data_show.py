"""`fedlab data show`: shows how the data of a run is divided among its clients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fedlab.console.output import writable
from fedlab.console.parsing import Parser
from fedlab.errors import ConfigError, printable

if TYPE_CHECKING:
    import pathlib

    from omegaconf import DictConfig

    from fedlab.types import Dataset, ExampleSet, Partition

_LABELS = 20  # classes that are named
_TEXTS = 5  # clients of which a text is printed


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
    made.add_file("--samples", help="also write a picture of training images, without and with corruption=…")
    made.add_argument("--by", choices=("class", "client"), default="class", help="rows of --samples (default: class)")
    made.add_file(
        "--assignment",
        help="also write a CSV file with the client and the use of each training example, by position after the test split",
    )
    return made


def main(argv: Sequence[str]) -> int:
    """Loads and divides the data as `fedlab train` does with the same overrides; prints the sizes. Raises `FedlabError`."""
    args = parser().parse(argv)
    for flag in ("png", "samples", "assignment"):
        writable(f"--{flag}", getattr(args, flag))
    from fedlab.config.composing import build, compose
    from fedlab.run.inputs import remarks

    config = compose(args.overrides, args.config_dir)
    clean, dataset, partition, seed = _divided(config)
    heading = f"{dataset.name}, {config.partition._target_.rpartition('.')[2]}, seed {seed}"
    train = dataset.train
    if args.png and train.task.num_classes is None:
        raise ConfigError(f"--png {args.png}: the task of this data is {train.task.name}, and there are no classes to draw.")
    _print(dataset, partition, heading)
    for remark in remarks(build(config, "data"), clean):
        print(remark)
    if args.png:
        from fedlab.partition import label_counts
        from fedlab.report.partition_plot import plot_partition

        counts = label_counts(train.y, partition, train.num_classes)
        plot_partition(counts, args.png, heading, partition.client_ids, getattr(train.task, "labels", None))
        print(f"heat map in {args.png}")
    if args.samples:
        from fedlab.cli.data_samples import write_samples

        write_samples(args.samples, args.by, clean, dataset, partition, seed, heading)
        print(f"samples in {args.samples}")
    if args.assignment:
        _write_assignment(args.assignment, partition)
        print(f"the client of each training example in {args.assignment}")
    return 0


def _print(dataset: Dataset, partition: Partition, heading: str) -> None:
    """Prints the sizes, classes and columns of the data and of its partition."""
    import numpy as np
    from rich.console import Console
    from rich.table import Table

    from fedlab.partition import heterogeneity

    train, sizes = dataset.train, partition.sizes
    figures = heterogeneity(train.y, partition, train.num_classes) if train.task.num_classes is not None else None
    table = Table("", "min", "median", "max", title=heading, title_justify="left")
    spreads = {"examples per client": (sizes.min(), np.median(sizes), sizes.max())}
    if figures:
        spreads["classes per client"] = figures.classes
    for label, spread in spreads.items():
        table.add_row(label, *(f"{value:,.10g}" for value in spread))
    Console().print(table)
    holders = "1 client holds" if len(partition) == 1 else f"{len(partition):,} clients hold"
    print(f"{holders} {partition.sizes.sum():,} of {len(train):,} training examples")
    for part, who in ((partition, "clients"), (partition.unseen, "clients that are never trained")):
        if part is not None and part.held_out is not None:
            print(f"{who} hold out {sum(map(len, part.held_out)):,} further examples for evaluation")
    if partition.unseen is not None:
        unseen, given = len(partition.unseen), partition.unseen.sizes.sum()
        print(f"{unseen:,} further {'client is' if unseen == 1 else 'clients are'} never trained, with {given:,} examples")
    held_out = len(dataset.test)
    print(f"{held_out:,} {'example is' if held_out == 1 else 'examples are'} held out for testing")
    if hasattr(train.task, "vocabulary"):
        _print_texts(train, partition)
    for column in dataset.columns:
        print(printable(" ".join(f"column {_column(column)}".split())))
    if labels := getattr(train.task, "labels", None):
        named = ", ".join(f"{i} is {label}" for i, label in enumerate(labels[:_LABELS]))
        print(f"classes: {printable(named)}{', …' if len(labels) > _LABELS else ''}")
    if label_names := getattr(train.task, "label_names", None):
        counts = [f"{label} {count:,}" for label, count in zip(label_names, train.y.sum(axis=0, dtype=np.int64))]
        shown = printable(", ".join(counts[:_LABELS])) + ", …" * (len(counts) > _LABELS)
        print(f"{len(counts):,} labels, with their number of training examples: {shown}")
    if figures:
        print(f"mean label entropy {figures.mean_label_entropy:.3f} bits (0: one class each)")
        print(f"mean total variation {figures.mean_total_variation:.3f} from the global label distribution (0: equal)")


def _print_texts(train: ExampleSet, partition: Partition) -> None:
    """Prints the vocabulary, and the first example of the first clients."""
    task: Any = train.task
    print(f"vocabulary: {len(task.vocabulary):,} characters, {_in_a_line(''.join(task.vocabulary))}")
    print(f"{task.num_outputs:,} tokens: the characters, padding, unknown character, beginning and end of a text")
    for name, indices in list(zip(partition.client_ids, partition.indices))[:_TEXTS]:
        if len(indices):
            print(f"client {printable(name)}: {_in_a_line(task.text(train.x[indices.min()]))}")


def _in_a_line(text: str) -> str:
    """Returns the text in one line, with control characters and line breaks spelt out."""
    return printable(text.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t"))


def _write_assignment(path: pathlib.Path, partition: Partition) -> None:
    """Writes a row per example of a client, in order of positions in the training set: the position, the client, and its use.

    Uses: training; held out (of training, by the client); unseen (of a client that is never trained), also held out by it.
    """
    import csv

    owned = []
    for part, kept, held_out in ((partition, "training", "held out"), (partition.unseen, "unseen", "unseen, held out")):
        if part is not None:
            for use, each in ((kept, part.indices), (held_out, part.held_out or ())):
                owned += [(int(i), name, use) for name, indices in zip(part.client_ids, each) for i in indices]
    owned.sort()
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["example", "client", "use"])
        writer.writerows(owned)


def _column(encoding: Mapping[str, Any]) -> str:
    """Returns the encoding of a column in words."""
    if encoding["kind"] == "numeric":
        return "{column}: numbers, median {median:.4g}, mean {mean:.4g}, standard deviation {std:.4g}".format(**encoding)
    categories = encoding["categories"]
    shown = ", ".join(categories[:_LABELS]) + (", …" if len(categories) > _LABELS else "")
    count = f"{len(categories)} {'category' if len(categories) == 1 else 'categories'}"
    return f"{encoding['column']}: {count}{', ' * bool(shown)}{shown}"


def _divided(config: DictConfig) -> tuple[Dataset, Dataset, Partition, int]:
    """Returns the data before and after corruption, its partition after the filter, and their seed."""
    from fedlab.config.composing import build
    from fedlab.run.inputs import divided
    from fedlab.run.rules import check_classes

    source, partitioner = build(config, "data"), build(config, "partition")
    seed = partitioner.data_seed(config.seed)
    corruption = build(config, "corruption")
    clean = source.load(seed)
    check_classes({"partition": partitioner, "corruption": corruption}, clean)
    dataset, partition = divided(clean, partitioner, corruption, build(config, "filter"), config.evaluation.holdout, config.seed)
    return clean, dataset, partition, seed
