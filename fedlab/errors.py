"""The errors a user can cause. Each is one line: what was given, what is allowed, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class FedlabError(Exception):
    """A user's mistake or a failing environment; the command line prints it as one line and exits with `exit_code`."""

    exit_code = 1


class ConfigError(FedlabError):
    """The configuration cannot work. Raised before any data is read and before TensorFlow is imported."""

    exit_code = 2


class DataError(FedlabError):
    """A data file is missing, damaged or not what it claims to be; or the data cannot be divided as asked."""

    exit_code = 3


def one_line(error: BaseException) -> str:
    """The error's message without its line breaks."""
    return " ".join(str(error).split())


def did_you_mean(given: str, allowed: Iterable[str]) -> str:
    """`" Did you mean 'cnn'?"` for the nearest of `allowed`, or the empty string when nothing is near."""
    near = difflib.get_close_matches(given, list(allowed), n=1, cutoff=0.5)
    return f" Did you mean '{near[0]}'?" if near else ""
