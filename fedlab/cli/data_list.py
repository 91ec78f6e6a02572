"""`fedlab data list`: lists the data sets, and which of them are here."""

from __future__ import annotations

import os
import pkgutil
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fedlab.cli.data import add_dir, config_of, names
from fedlab.console.parsing import Parser
from fedlab.errors import DataError

if TYPE_CHECKING:
    from fedlab.data import Source


def parser() -> Parser:
    """Returns the parser."""
    made = Parser("fedlab data list", description="Lists the data sets, and which of them are here.")
    add_dir(made)
    return made


def main(argv: Sequence[str]) -> int:
    """Prints a row per data set in the configuration group `data`. Returns the exit code."""
    args = parser().parse(argv)
    from omegaconf import OmegaConf
    from rich.console import Console
    from rich.table import Column, Table

    from fedlab.config.composing import build

    table = Table("data=", "train + test", "classes", "users", Column("where", overflow="fold"))
    for name in names():
        config = config_of(name, args.dir)
        needed = OmegaConf.missing_keys(config)
        if needed:
            unread = pkgutil.resolve_name(config.data._target_).unread
            table.add_row(name, *unread, " ".join(f"{key}=…" for key in sorted(needed)))
            continue
        source: Source = build(config, "data")
        size = source.published
        sizes = (f"{size.train:,} + {size.test:,}", str(size.classes)) if size else source.unread[:2]
        table.add_row(name, *sizes, "yes" if source.has_user_ids else "no", _where(source))
    Console().print(table)
    print("fedlab data fetch NAME downloads what is missing or damaged.")
    return 0


def _where(source: Source) -> str:
    if not source.files():
        return "installed with fedlab"
    try:
        source.verify()
    except DataError:
        return "incomplete or damaged" if any(path.exists() for path in source.files()) else "missing"
    return os.path.commonpath([path.parent for path in source.files()])
