"""`fedlab data fetch NAME`: downloads and verifies the files of a data set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fedlab.cli.data import add_dir, config_of, names
from fedlab.console.parsing import Parser
from fedlab.errors import ConfigError

if TYPE_CHECKING:
    from fedlab.data import Source


def parser() -> Parser:
    """Returns the parser."""
    made = Parser("fedlab data fetch", description="Downloads and verifies the files of a data set.")
    made.add_argument("name", metavar="NAME", help=", ".join(names()))
    add_dir(made)
    return made


def main(argv: Sequence[str]) -> int:
    """Downloads the missing files of one data set. Returns the exit code; raises `ConfigError`."""
    args = parser().parse(argv)
    config = config_of(args.name, args.dir)
    from omegaconf import OmegaConf

    from fedlab.config.composing import build

    if OmegaConf.missing_keys(config):
        raise ConfigError(f"{args.name} reads a file of your own: there is nothing to download.")
    source: Source = build(config, "data")
    if not source.files():
        print(f"{source.name} needs no files: it comes with the installation.")
        return 0
    _fetch(source)
    print(f"{source.name}: {len(source.files())} files, all complete, in {source.data_dir}")
    return 0


def _fetch(source: Source) -> None:
    """Downloads the missing files, with a bar per file on stderr."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as display:
        tasks = {}

        def on_progress(path: str, num_bytes: int, total: int | None) -> None:
            if path not in tasks:
                tasks[path] = display.add_task(path)
            display.update(tasks[path], completed=num_bytes, total=total)

        source.fetch(on_progress)
