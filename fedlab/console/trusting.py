"""The option --trust, and the question that replaces it on a terminal."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator
from typing import Any

from fedlab import trust

FLAG = trust.FLAG
HELP = "run code outside of fedlab that the folder names, and model files that can hold code"


class _Trust(argparse.Action):
    """Grants trust while the parser reads --trust."""

    def __init__(self, **options: Any):
        super().__init__(nargs=0, **options)

    def __call__(self, *_: Any) -> None:
        trust.trust_everything()


def add_argument(parser: argparse.ArgumentParser) -> None:
    """Adds --trust to a verb that reads run folders or model files."""
    parser.add_argument(FLAG, action=_Trust, help=HELP)


@contextlib.contextmanager
def session() -> Iterator[None]:
    """Begins a command without trust. On a terminal, fedlab asks the user."""
    with trust.session(ask=_asked if _on_a_terminal() else None):
        yield


def _on_a_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()


def _asked(found: str) -> bool:
    print(f"{found}.\nIt will have your rights. Go on? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
