"""The arguments of the verbs that test a classifier on the users of its data."""

from __future__ import annotations

import argparse
import pathlib
from typing import TYPE_CHECKING

from fedlab.console import trusting
from fedlab.console.parsing import Parser

if TYPE_CHECKING:
    from fedlab.studies.investigate.subject import Subject


def subject_parser(prog: str, description: str, example: str) -> Parser:
    """Returns a parser with the arguments that name the classifier and the data. `example`: the words after `prog`."""
    made = Parser(prog, description=description, epilog=f"example: {prog} {example}")
    made.add_argument("run", metavar="RUN", type=pathlib.Path, help="the folder of a run that has finished, or a .keras file")
    made.add_argument(
        "overrides", nargs="*", default=[], metavar="OVERRIDE", help="of the run's data, partition, corruption and seed"
    )
    trusting.add_argument(made)
    made.add_config_dir()
    return made


def tested(args: argparse.Namespace) -> Subject:
    """Reads the data and tests the classifier that parsed arguments name. Raises `FedlabError`."""
    from fedlab.studies.investigate.subject import read_subject

    return read_subject(args.run, args.overrides, args.config_dir)
