"""`fedlab data`: lists data sets, fetches them, shows how one is divided among clients, and by whom a classifier does badly."""

from __future__ import annotations

import argparse
import os
import pathlib
from collections.abc import Sequence

from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Column, Table

from fedlab.cli.config import build, compose, config_dir
from fedlab.cli.parsing import Parser
from fedlab.data import Source
from fedlab.errors import ConfigError, DataError, did_you_mean


def main(argv: Sequence[str]) -> int:
    """Runs one of its actions. Returns the exit code; raises `FedlabError`."""
    actions = {"list": list_sources, "fetch": fetch, "show": show, "misclassification": _misclassification, "filter": _filter}
    if not argv or argv[0] in ("-h", "--help"):
        print(__doc__)
        print("\nusage: fedlab data list | fetch NAME | show | misclassification RUN | filter RUN\n\nEach takes --help.")
        return 0 if argv else ConfigError.exit_code
    if argv[0] not in actions:
        raise ConfigError(f"no action '{argv[0]}'.{did_you_mean(argv[0], actions)} Actions: {', '.join(actions)}.")
    return actions[argv[0]](argv[1:])


def list_sources(argv: Sequence[str]) -> int:
    """A row per data set in the configuration group `data`."""
    parser = Parser("fedlab data list", description="Lists the data sets, and which of them are here.")
    _add_dir(parser)
    args = parser.parse(argv)
    table = Table("data=", "train + test", "classes", "users", Column("where", overflow="fold"))
    for name in _names():
        config = _config(name, args.dir)
        needed = OmegaConf.missing_keys(config)
        if needed:
            table.add_row(name, "any", "any", "optional", " ".join(f"{key}=…" for key in sorted(needed)))
            continue
        source: Source = build(config, "data")
        size = source.published
        sizes = (f"{size.train:,} + {size.test:,}", str(size.classes)) if size else ("any", "any")
        table.add_row(name, *sizes, "yes" if source.has_user_ids else "no", _where(source))
    Console().print(table)
    print("fedlab data fetch NAME downloads what is missing or damaged.")
    return 0


def fetch(argv: Sequence[str]) -> int:
    """Downloads what is missing of one data set."""
    parser = Parser("fedlab data fetch", description="Downloads and verifies the files of a data set.")
    parser.add_argument("name", metavar="NAME", help=", ".join(_names()))
    _add_dir(parser)
    args = parser.parse(argv)
    config = _config(args.name, args.dir)
    if OmegaConf.missing_keys(config):
        raise ConfigError(f"{args.name} is your own data: there is nothing to fetch.")
    source: Source = build(config, "data")
    if not source.files():
        print(f"{source.name} needs no files: it comes with the installation.")
        return 0

    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as display:
        tasks = {}

        def on_progress(path: str, num_bytes: int, total: int | None) -> None:
            if path not in tasks:
                tasks[path] = display.add_task(path)
            display.update(tasks[path], completed=num_bytes, total=total)

        source.fetch(on_progress)
    print(f"{source.name}: {len(source.files())} files, verified, below {source.data_dir}")
    return 0


def show(argv: Sequence[str]) -> int:
    """Loads and divides the data exactly as `fedlab train` with the same overrides will."""
    parser = Parser(
        "fedlab data show",
        description="Shows how the data of a run is divided among its clients; takes the overrides of fedlab train.",
        epilog="example: fedlab data show data=mnist partition=shards partition.num_clients=100 --png partition.png",
    )
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="as for fedlab train, such as data=mnist")
    parser.add_argument("-cd", "--config-dir", metavar="FOLDER", help="your own configuration folder, as for fedlab train")
    parser.add_argument("--png", metavar="FILE", type=pathlib.Path, help="also writes a heat map of clients and classes")
    args = parser.parse(argv)
    if args.png and not args.png.absolute().parent.is_dir():
        raise ConfigError(f"--png {args.png}: there is no folder {args.png.parent}.")

    from fedlab.partition import heterogeneity, label_counts
    from fedlab.run.fingerprint import fingerprints

    config = compose(args.overrides, args.config_dir)
    source, partitioner = build(config, "data"), build(config, "partition")
    dataset = source.load(config.seed)
    partition = partitioner(dataset.train, config.seed)
    dataset = build(config, "corruption")(dataset, partition, config.seed)
    partition, train = build(config, "filter")(dataset, partition, fingerprints), dataset.train
    figures = heterogeneity(train.y, partition, train.num_classes)

    heading = f"{dataset.name}, {config.partition._target_.rpartition('.')[2]}, seed {config.seed}"
    table = Table("", "min", "median", "max", title=heading, title_justify="left")
    for label, spread in (("examples per client", figures.examples), ("classes per client", figures.classes)):
        table.add_row(label, *(f"{value:,.10g}" for value in spread))
    Console().print(table)
    print(f"{figures.num_clients:,} clients hold {partition.sizes.sum():,} of {len(train):,} training examples")
    print(f"{len(dataset.test):,} examples are held out for testing")
    print(f"mean label entropy {figures.mean_label_entropy:.3f} bits (0: one class each)")
    print(f"mean total variation {figures.mean_total_variation:.3f} from the global label distribution (0: all alike)")
    if args.png:
        from fedlab.report.partition_plot import plot_partition

        plot_partition(label_counts(train.y, partition, train.num_classes), args.png, heading, partition.client_ids)
        print(f"heat map in {args.png}")
    return 0


def _misclassification(argv: Sequence[str]) -> int:
    from fedlab.cli.misclassification import misclassification

    return misclassification(argv)


def _filter(argv: Sequence[str]) -> int:
    from fedlab.cli.filter import filter_data

    return filter_data(argv)


def _names() -> list[str]:
    return sorted(path.stem for path in (config_dir() / "data").glob("*.yaml"))


def _config(name: str, directory: str | None) -> DictConfig:
    if name not in _names():
        raise ConfigError(f"no data set '{name}'.{did_you_mean(name, _names())} Data sets: {', '.join(_names())}.")
    config = OmegaConf.create({"data": OmegaConf.load(config_dir() / "data" / f"{name}.yaml")})
    if directory:
        config.data.dir = directory
    return config


def _add_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dir", help="the data directory (default: $FEDLAB_DATA_DIR, else ~/.cache/fedlab)")


def _where(source: Source) -> str:
    if not source.files():
        return "always here"
    try:
        source.verify()
    except DataError:
        return "incomplete or damaged" if any(path.exists() for path in source.files()) else "missing"
    return os.path.commonpath([path.parent for path in source.files()])
