"""The parser of every verb: options may stand anywhere among the words, and an error is one line.

A verb declares its parser in a function without arguments, to which its row in `fedlab/cli/verbs.py` or in the `STUDY` of a study
refers. Tab completion reads the flags and their values from it, so the module of that function imports nothing slow at its top.
"""

from __future__ import annotations

import argparse
import math
import pathlib
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from fedlab.errors import ConfigError, did_you_mean


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` that accepts options before, between and after the other words. It raises `ConfigError`.

    It refuses abbreviations of options, because their meaning would change when an option is added. Its help fills the paragraphs
    of `description` and `epilog`, and keeps a paragraph that begins with "example", or has indented lines, as it is.
    """

    def __init__(self, prog: str, **options: Any):
        super().__init__(prog, allow_abbrev=False, formatter_class=_Help, **options)
        self._argv: Sequence[str] = ()

    def parse(self, argv: Sequence[str] | None = None) -> argparse.Namespace:
        """Returns the options and words in `argv` (default: the arguments of the process). Raises `ConfigError`.

        It refuses `--`, which argparse would drop, and read a flag behind it as a flag.
        """
        self._argv = list(sys.argv[1:] if argv is None else argv)
        if "--" in self._argv:
            raise ConfigError(f"-- does not end the flags: leave it out, and write -NAME as ./-NAME. See {self.prog} --help.")
        return self.parse_intermixed_args(self._argv)

    def error(self, message: str) -> NoReturn:
        options = [option for action in self._actions for option in action.option_strings]
        unknown = next((word for word in self._argv if word.startswith("--") and word.split("=")[0] not in options), None)
        near = did_you_mean(unknown, self.flags()) if unknown and message.startswith("unrecognized") else ""
        raise ConfigError(f"{message}.{near} See {self.prog} --help.")

    def flags(self) -> list[str]:
        """Returns the long names of the options that its help lists, in the order of the help."""
        shown = [action for action in self._actions if action.help is not argparse.SUPPRESS]
        return [option for action in shown for option in action.option_strings if option.startswith("--")]

    def values(self, flag: str) -> list[str] | None:
        """Returns the values that a flag takes; [] for a path, a number or a name; None without a value."""
        action = next((action for action in self._actions if flag in action.option_strings), None)
        if action is None or action.nargs == 0:
            return None
        if action.choices is not None:
            return [str(choice) for choice in action.choices]
        # "clients|test|FILE.npz": words in lower case are values, others stand for one
        return [word for word in str(action.metavar or "").split("|") if word.islower()]

    def add_config_dir(self) -> None:
        """Adds -cd, the folder of a user's own configuration files."""
        self.add_argument("-cd", "--config-dir", metavar="FOLDER", help="your own configuration folder, as for fedlab train")

    def add_file(self, *names: str, help: str) -> None:
        """Adds an option that names a file."""
        self.add_argument(*names, metavar="FILE", type=pathlib.Path, help=help)

    def add_rounds_to(self) -> None:
        """Adds --rounds-to TARGET, which may be repeated: `rounds_to` is the list of targets."""
        text = "also the rounds until the test accuracy (or the metric that ranks runs) first reaches TARGET, such as 0.97"
        finite = number(lambda value: True, "a finite number")
        self.add_argument("--rounds-to", metavar="TARGET", type=finite, action="append", default=[], help=text)


class _Help(argparse.HelpFormatter):
    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs = re.split(r"\n\s*\n", text.strip())
        filled = super()._fill_text
        return "\n\n".join(p if p.startswith("example") or "\n " in p else filled(p, width, indent) for p in paragraphs)


def whole_number(at_least: int) -> Callable[[str], int]:
    """Returns the type of an option that takes whole numbers, also written with underscores: 1_000_000."""

    def parsed(text: str) -> int:
        digits = text.replace("_", "")
        if not digits.isdecimal() or int(digits) < at_least:
            raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of at least {at_least}")
        return int(digits)

    return parsed


def number(allowed: Callable[[float], bool], words: str) -> Callable[[str], float]:
    """Returns the type of an option that takes finite numbers. `words`: the allowed numbers, such as "a number above 0"."""

    def parsed(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and allowed(value)):
            raise argparse.ArgumentTypeError(f"'{text}' is not {words}")
        return value

    return parsed
