"""`fedlab completion bash|zsh` prints the script of the shell; it calls `fedlab completion query LINE`.

The answer to a query is one candidate per line; a trailing blank marks a finished word.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from fedlab.cli.verbs import ACTIONS, VERBS
from fedlab.console import completing
from fedlab.console.parsing import Parser
from fedlab.errors import ConfigError


def parser() -> Parser:
    """Returns the parser."""
    made = Parser("fedlab completion", description='Prints the script for tab completion: eval "$(fedlab completion bash)"')
    made.add_argument("shell", metavar="{bash,zsh}", help="print the script for this shell")
    made.add_argument("line", nargs="?", default="", help=argparse.SUPPRESS)
    return made


def main(argv: Sequence[str]) -> int:
    """Prints the script of a shell, or the candidates of a query. Returns the exit code."""
    args = parser().parse(argv)
    if args.shell == "query":
        for candidate in candidates(args.line):
            print(candidate if candidate.endswith(("=", ".", "/")) else candidate + " ")
        return 0
    if args.shell not in completing.SHELLS:
        raise ConfigError(f"no script for the shell '{args.shell}'. There are: {', '.join(completing.SHELLS)}.")
    print(completing.SHELLS[args.shell])
    return 0


def candidates(line: str) -> list[str]:
    """Returns the sorted candidates for the last word of `line`; none for a path, which the shell completes."""
    return completing.candidates(line, VERBS, ACTIONS, _of_configuration)


def _of_configuration(overrides: Sequence[str], word: str) -> list[str]:
    from fedlab.config import completing  # imports Hydra

    return completing.candidates(overrides, word)
