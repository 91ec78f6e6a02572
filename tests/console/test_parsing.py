"""The parser of the verbs: options anywhere, one line per error, one form of help, values for tab completion."""

from __future__ import annotations

import argparse
import re

import pytest

from fedlab.cli.verbs import ACTIONS, VERBS
from fedlab.console.parsing import Parser, number, whole_number
from fedlab.errors import ConfigError
from fedlab.registry import resolved

EVERY = {**VERBS, **ACTIONS}


@pytest.fixture
def parser() -> Parser:
    made = Parser(
        "fedlab show",
        description="Shows a thing.\n\nA second paragraph, whose lines\nare filled.",
        epilog="examples:\n  fedlab show a --count 3",
    )
    made.add_argument("words", nargs="*")
    made.add_argument("--count", type=whole_number(1), default=1, help="how many")
    made.add_argument("--share", type=number(lambda p: 0 < p < 1, "a number between 0 and 1"), help="a share")
    made.add_argument("--data", metavar="clients|test|FILE.npz", help="the data")
    made.add_argument("--hidden", help=argparse.SUPPRESS)
    return made


@pytest.mark.parametrize("line", ["--count 3 a b", "a --count 3 b", "a b --count 3", "a b --count=3"])
def test_options_stand_anywhere(parser, line):
    found = parser.parse(line.split())
    assert (found.words, found.count) == (["a", "b"], 3)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("--cuont 3", "unrecognized arguments: --cuont. Did you mean '--count'? See fedlab show --help."),
        ("--coun 3", "unrecognized arguments: --coun"),  # no abbreviations
        ("-x", "unrecognized arguments: -x. See fedlab show --help."),
        ("a -- --count 3", "-- does not end the flags: leave it out, and write -NAME as ./-NAME. See fedlab show --help."),
        ("--count 0", "argument --count: '0' is not a whole number of at least 1. See fedlab show --help."),
        ("--count -2", "'-2' is not a whole number of at least 1"),
        ("--count 1.5", "'1.5' is not a whole number of at least 1"),
        ("--share 1", "'1' is not a number between 0 and 1"),
        ("--share nan", "'nan' is not a number between 0 and 1"),
        ("--share inf", "'inf' is not a number between 0 and 1"),
        ("--share x", "'x' is not a number between 0 and 1"),
    ],
)
def test_an_error_is_one_line(parser, line, told):
    with pytest.raises(ConfigError) as error:
        parser.parse(line.split())
    assert told in str(error.value) and "\n" not in str(error.value)


def test_underscores_group_digits(parser):
    assert parser.parse(["--count", "1_000_000"]).count == 1_000_000


def test_help_fills_paragraphs_and_keeps_examples(parser):
    page = parser.format_help()
    assert "\nA second paragraph, whose lines are filled.\n" in page and "\nexamples:\n  fedlab show a --count 3\n" in page


def test_help_keeps_the_line_of_an_example():
    line = "example: fedlab show " + "words " * 30 + "end"
    assert f"\n{line}\n" in Parser("fedlab show", epilog=line).format_help()


@pytest.mark.parametrize("verb", sorted(EVERY))
def test_words_that_may_be_left_out_are_not_required(verb):
    optional = [action for action in resolved(EVERY[verb].parser)()._actions if action.nargs == "*"]
    assert not [action.metavar for action in optional if action.required and verb != "train"]  # train requires no word


@pytest.mark.parametrize("verb", ["attack", "data misclassification"])
def test_the_line_for_a_missing_run_names_nothing_else(verb):
    with pytest.raises(ConfigError, match=r"the following arguments are required: RUN\. See"):
        resolved(EVERY[verb].parser)().parse([])


def test_values_for_completion(parser):
    assert parser.flags() == ["--help", "--count", "--share", "--data"]
    assert parser.values("--data") == ["clients", "test"] and parser.values("--count") == []
    assert parser.values("--help") is None and parser.values("--nothing") is None


@pytest.mark.parametrize("verb", sorted({*EVERY} - {"train"}))  # `fedlab train --help` is a page of its own
def test_the_help_of_every_verb_has_one_form(verb):
    made = resolved(EVERY[verb].parser)()
    assert re.match(r"[A-Z]\w+s? ", made.description) and made.description[-1] in '.")', made.description
    for action in made._actions:
        assert action.help and (action.help is argparse.SUPPRESS or not action.help.endswith(".")), action
