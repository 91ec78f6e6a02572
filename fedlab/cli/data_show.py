"""`fedlab data show`: shows how the data of a run is divided among its clients."""

from __future__ import annotations

from collections.abc import Sequence

from fedlab.console.output import writable
from fedlab.console.parsing import Parser
from fedlab.errors import ConfigError


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
    from fedlab.cli.data_text import print_data
    from fedlab.config.composing import build, compose
    from fedlab.config.dividing import load_divided
    from fedlab.run.inputs import remarks

    config = compose(args.overrides, args.config_dir)
    clean, dataset, partition, seed = load_divided(config)
    heading = f"{dataset.name}, {config.partition._target_.rpartition('.')[2]}, seed {seed}"
    train = dataset.train
    if args.png and train.task.num_classes is None:
        raise ConfigError(f"--png {args.png}: the task of this data is {train.task.name}, and there are no classes to draw.")
    print_data(dataset, partition, heading)
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
        from fedlab.partition.assignment import write_assignment

        write_assignment(args.assignment, partition)
        print(f"the client of each training example in {args.assignment}")
    return 0
