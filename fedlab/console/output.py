"""Checks of output paths, output streams that survive a lost reader or a full disk, and the line for an error of own code."""

from __future__ import annotations

import contextlib
import errno
import os
import pathlib
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from fedlab.errors import ConfigError, of_own_code, printable

# Option → the file that its error suggests
_EXAMPLES = {
    "--csv": "report.csv",
    "--png": "report.png",
    "--latex": "table.tex",
    "--markdown": "table.md",
    "--out": "picture.pdf",
}


def writable(flag: str, path: pathlib.Path | None) -> pathlib.Path | None:
    """Returns `path`, the value of `flag`. Raises `ConfigError` if it is a folder or its folder does not exist."""
    if path is None:
        return None
    if path.is_dir():
        example = path / _EXAMPLES.get(flag, "report.html")
        raise ConfigError(f"{flag} {path} is a folder: name a file in it, such as {example}.")
    if not path.absolute().parent.is_dir():
        raise ConfigError(f"{flag} {path}: there is no folder {path.parent}.")
    return path


@contextlib.contextmanager
def outliving_its_reader() -> Iterator[list[OSError]]:
    """Drops lines that have no reader any more (the terminal is gone, or `| head` has ended) and lines that a full disk refuses.

    Otherwise a line that cannot be printed raises an error, also in the code that saves the state of a run. Yields a list, which
    at the end contains the error that has cut the standard output short, if any; a lost reader is none.
    """
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = out, err = [_Outliving(stream) for stream in before]
    lost: list[OSError] = []
    try:
        yield lost
    finally:
        for stream in (out, err):
            stream.flush()  # here, because an error at the interpreter's exit is reported
        sys.stdout, sys.stderr = before
        lost += out.failures


class _Outliving:
    """A wrapper of `stream` that discards the output once it cannot be written. `failures`: why, unless the reader is gone."""

    def __init__(self, stream: TextIO):
        self._stream = stream
        self.failures: list[OSError] = []

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
                self.failures.append(error)
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())  # for native code and child processes, too
            os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def report_own_code(error: BaseException, verb: str) -> int:
    """Prints one line for an error of a user's own code; returns the exit code. Raises an error from anywhere else unchanged.

    HYDRA_FULL_ERROR=1: raises the line with the call stack instead of printing it.
    """
    worded = of_own_code(error)
    if worded is None:
        raise error
    if os.environ.get("HYDRA_FULL_ERROR") == "1":
        raise worded from error
    print(f"fedlab {verb}: {printable(worded)}", file=sys.stderr)
    return worded.exit_code
