"""The errors that a user can cause. Each is one line: the given value, the allowed values, the remedy."""

from __future__ import annotations

import difflib
import pathlib
import re
import sys
import sysconfig
import traceback
import unicodedata
from collections.abc import Iterable

from fedlab.stopping import STOPS

_MOST_SUGGESTED = 3
_MOST_CHARACTERS = 200
_MOST_FRAMES = 3  # of a user's own code


class FedlabError(Exception):
    """A user's mistake or a failure of the environment. The command line prints it as one line and exits with `exit_code`."""

    exit_code = 1


def printable(text: object) -> str:
    """Returns the text with control and formatting characters spelt out, such as \\x1b.

    Names and messages may come from files of other people; a terminal would obey the commands in them.
    """
    text = str(text)
    if text.isprintable():  # most texts: nothing to spell out
        return text
    return "".join(_spelt(c) if unicodedata.category(c) in ("Cc", "Cf") and c not in "\n\t" else c for c in text)


def _spelt(character: str) -> str:
    return character.encode("unicode_escape").decode()


class ConfigError(FedlabError):
    """The configuration cannot work. Raised before any data is read and before TensorFlow is imported."""

    exit_code = 2


class DataError(FedlabError):
    """A data file is missing, damaged or not the expected one; or the data cannot be divided as configured."""

    exit_code = 3


def own_frames(error: BaseException) -> str | None:
    """Returns the position at which a user's own code raised `error`, as "file.py, line 3, in build"; None if none did.

    Code is a user's own if it is neither part of fedlab nor installed.
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
    """Returns a one-line error for an exception of a user's own code; None for any other error, and for a signal.

    User code that exits would end fedlab silently, and with success for `sys.exit()`: that is also an error.
    """
    where = None if isinstance(error, STOPS) else own_frames(error)
    if where is None:
        return None
    if isinstance(error, SystemExit):
        return FedlabError(f"code of your own exits ({where}): return instead, or raise an exception that states the problem.")
    return FedlabError(f"{type(error).__name__}: {one_line(error)} ({where}).")


def one_line(error: BaseException) -> str:
    """Returns the error's message without line breaks."""
    return " ".join(str(error).split())


def first_sentence(message: str) -> str:
    """Returns the first sentence of a library's message, without its full stop; long ones are cut after 200 characters."""
    first = " ".join(message.split()).partition(". ")[0].rstrip(".")
    return first if len(first) <= _MOST_CHARACTERS else first[:_MOST_CHARACTERS] + " …"


def did_you_mean(given: str, allowed: Iterable[str]) -> str:
    """Returns `" Did you mean 'cnn'?"` for the nearest of `allowed`, or the empty string if none is near."""
    return asked(suggestions(given, allowed))


def asked(names: Iterable[str]) -> str:
    """Returns `" Did you mean 'a' or 'b'?"`, or the empty string for no names."""
    quoted = [f"'{name}'" for name in names]
    return f" Did you mean {' or '.join(quoted)}?" if quoted else ""


def suggestions(given: str, allowed: Iterable[str]) -> list[str]:
    """Returns at most three of `allowed` that the user may have meant by `given`.

    Names that end in `given` come first (alpha: partition.alpha), then names that it abbreviates (lr: learning_rate), then names
    that contain it as a word (optimizer: client_optimizer); without any, the most similar name.
    """
    names = [name for name in dict.fromkeys(allowed) if name and name != given]
    return named_alike(given, names) or difflib.get_close_matches(given, names, n=1, cutoff=0.5)


def named_alike(given: str, allowed: Iterable[str]) -> list[str]:
    """Returns the part of `suggestions` that compares words, not letters."""
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
