"""`fedlab train`. Imports are delayed until training begins, so help on a choice needs neither Hydra nor TensorFlow."""

from __future__ import annotations

from fedlab.console.parsing import Parser


def parser() -> Parser:
    """Returns the parser, which imports Hydra."""
    from fedlab.config import application

    return application.parser()


def main(argv: list[str]) -> int:
    """Trains, or prints help; returns the exit code."""
    from fedlab.config import choice_help

    page = choice_help.asked(argv)
    if page is not None:
        print(page)
        return 0
    from fedlab.cli import train_run

    return train_run.main(argv)
