"""The errors a user can cause. Each is one line: what was given, what is allowed, what to do."""

from __future__ import annotations

import difflib
import pathlib
import re
import sys
import sysconfig
import traceback
from collections.abc import Iterable

_MOST_SUGGESTED = 3
_MOST_FRAMES = 3  # of a user's own code


class FedlabError(Exception):
    """A user's mistake or a failing environment; the command line prints it as one line and exits with `exit_code`."""

    exit_code = 1


class ConfigError(FedlabError):
    """The configuration cannot work. Raised before any data is read and before TensorFlow is imported."""

    exit_code = 2


class DataError(FedlabError):
    """A data file is missing, damaged or not what it claims to be; or the data cannot be divided as asked."""

    exit_code = 3


def own_frames(error: BaseException) -> str | None:
    """Where a user's own code raised `error`, as "file.py, line 3, in build"; None where none of it took part.

    Own is what is neither fedlab's nor installed.
    """
    installed = {str(pathlib.Path(path).resolve()) for path in sysconfig.get_paths().values()} - {sys.prefix, sys.base_prefix}
    folders = (str(pathlib.Path(__file__).parent), *installed)
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((*folders, "<")) and not frame.filename.endswith("/bin/fedlab")
    ]
    return ", from ".join(f"{f.filename}, line {f.lineno}, in {f.name}" for f in reversed(frames[-_MOST_FRAMES:])) or None


def of_own_code(error: BaseException) -> FedlabError | None:
    """One line for what a user's own code raised; None for any other error."""
    where = own_frames(error)
    return FedlabError(f"{type(error).__name__}: {one_line(error)} ({where}).") if where else None


def one_line(error: BaseException) -> str:
    """The error's message without its line breaks."""
    return " ".join(str(error).split())


def did_you_mean(given: str, allowed: Iterable[str]) -> str:
    """`" Did you mean 'cnn'?"` for what is nearest among `allowed`, or the empty string when nothing is near."""
    return asked(suggestions(given, allowed))


def asked(names: Iterable[str]) -> str:
    """`" Did you mean 'a' or 'b'?"`, or the empty string for no names."""
    quoted = [f"'{name}'" for name in names]
    return f" Did you mean {' or '.join(quoted)}?" if quoted else ""


def suggestions(given: str, allowed: Iterable[str]) -> list[str]:
    """At most three of `allowed` that `given` may stand for.

    First come names that end in `given` (alpha: partition.alpha), whose last word it abbreviates (lr: learning_rate) or that hold
    it as a word (optimizer: client_optimizer); without such, the one with the most letters in common.
    """
    names = [name for name in dict.fromkeys(allowed) if name and name != given]
    return named_alike(given, names) or difflib.get_close_matches(given, names, n=1, cutoff=0.5)


def named_alike(given: str, allowed: Iterable[str]) -> list[str]:
    """The part of `suggestions` that rests on words, not on letters."""
    names = list(dict.fromkeys(allowed)) if given else []
    for is_meant in (_ends_in, _is_abbreviated_by, _has_word):
        found = [name for name in names if is_meant(name, given.lower())]
        if found:
            return found[:_MOST_SUGGESTED]
    return []


def _ends_in(name: str, given: str) -> bool:
    return name.lower().endswith((f".{given}", f"/{given}"))


def _is_abbreviated_by(name: str, given: str) -> bool:
    words = re.split(r"[._/]", re.split(r"[./]", name)[-1])
    return len(words) > 1 and "".join(word[:1] for word in words) == given


def _has_word(name: str, given: str) -> bool:
    return f"_{given}_" in f"_{re.sub(r'[./-]', '_', name.lower())}_"
