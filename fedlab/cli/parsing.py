"""The parser of every verb: options may stand anywhere among the words, and a mistake is one line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from fedlab.errors import ConfigError, did_you_mean


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` that accepts options before, between and after the other words. It raises `ConfigError`.

    Abbreviations of options are refused: what they mean would change when an option is added.
    """

    def __init__(self, prog: str, **options: Any):
        super().__init__(prog, allow_abbrev=False, **options)
        self._argv: Sequence[str] = ()

    def parse(self, argv: Sequence[str] | None = None) -> argparse.Namespace:
        """The options and words in `argv`, by default those of the process. Raises `ConfigError`."""
        self._argv = list(sys.argv[1:] if argv is None else argv)
        return self.parse_intermixed_args(self._argv)

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}.{hint(self, message, self._argv)} See {self.prog} --help.")


def hint(parser: argparse.ArgumentParser, message: str, argv: Sequence[str]) -> str:
    """What an option that `parser` does not know may stand for, given its `message` about the words `argv`."""
    options = [option for action in parser._actions for option in action.option_strings]
    unknown = next((word for word in argv if word.startswith("-") and word.split("=")[0] not in options), None)
    return did_you_mean(unknown, options) if unknown and message.startswith("unrecognized") else ""
