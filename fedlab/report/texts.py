"""Texts in pictures: names of clients, classes and folders are drawn as they are."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import matplotlib

_LONGEST = 24
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def literal(draw: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Returns `draw` such that no text is a formula: a pair of dollar signs in a name would begin one, and may be no valid one.

    Also hides the warnings about letters that the font lacks. Not for logarithmic axes, whose ticks are formulas.
    """

    @functools.wraps(draw)
    def drawn(*args: Arguments.args, **options: Arguments.kwargs) -> Result:
        with matplotlib.rc_context({"text.parse_math": False}), warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"Glyph \d+", UserWarning)  # letters that the font lacks are drawn as boxes
            return draw(*args, **options)

    return drawn


def shortened(name: str) -> str:
    """Returns a name that fits beside a picture: on one line, at most 24 characters."""
    line = " ".join(name.split())
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"
