"""Where a verb may write."""

from __future__ import annotations

import pathlib

from fedlab.errors import ConfigError


def writable(flag: str, path: pathlib.Path | None) -> pathlib.Path | None:
    """`path`, the value of `flag`. Raises `ConfigError` where no file can have that name."""
    if path is None:
        return None
    if path.is_dir():
        raise ConfigError(f"{flag} {path} is a folder: name a file in it, such as {path / 'report.html'}.")
    if not path.absolute().parent.is_dir():
        raise ConfigError(f"{flag} {path}: there is no folder {path.parent}.")
    return path
