"""Where a verb may write, and what it does when nobody reads what it prints."""

from __future__ import annotations

import contextlib
import errno
import os
import pathlib
import sys
from collections.abc import Iterator
from typing import Any, TextIO

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


@contextlib.contextmanager
def outliving_its_reader() -> Iterator[None]:
    """Within, lines that nobody can read any more are dropped: the terminal is gone, or `| head` has ended.

    A line that cannot be printed would otherwise raise an error wherever it comes up, also in what saves a run's state.
    """
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (_Outliving(stream) for stream in before)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()  # now: at the interpreter's exit an error is reported
        sys.stdout, sys.stderr = before


class _Outliving:
    """`stream`, which leads nowhere once its reader is gone."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> int:
        self._try(lambda: self._stream.write(text))
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        self.write("".join(lines))

    def flush(self) -> None:
        self._try(self._stream.flush)

    def _try(self, act: Any) -> None:
        try:
            act()
        except OSError as error:
            if error.errno not in (errno.EIO, errno.EPIPE):
                raise
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())  # for native code and child processes, too
            os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
