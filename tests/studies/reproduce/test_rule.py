"""Laws of a row's verdict."""

from __future__ import annotations

import math
import statistics

import pydantic
import pytest

from fedlab.studies.reproduce.rule import Rule, half_width

ONE_OF_EACH = [
    {"within": 1.0},
    {"as_good": "higher"},
    {"as_good": "lower", "slack": 2.0},
    {"above": "other"},
    {"below": "other", "by": 1.0},
    {"least": 0.0},
    {"least": 0.0, "most": 20.0},
    {"confidence": 0.95},
]


def passes(options: dict, values: list, paper: object = 10.0, other: list | None = None) -> bool:
    return Rule(**options).applied_to(values, paper, [9.0] if other is None else other).passed


@pytest.mark.parametrize("options", ONE_OF_EACH)
@pytest.mark.parametrize("missing", [None, math.nan, math.inf, "inf", True])
def test_a_figure_that_is_missing_never_passes(options, missing):
    assert not passes(options, []) and not passes(options, [missing]) and not passes(options, [10.0, missing])


@pytest.mark.parametrize("options", ONE_OF_EACH)
def test_only_the_mean_and_the_spread_over_seeds_count_not_their_order(options):
    values = [9.0, 10.5, 12.0]
    assert passes(options, values) == passes(options, values[::-1])


@pytest.mark.parametrize(
    ("options", "value", "expected"),
    [
        ({"within": 0.005}, 10.005, True),
        ({"within": 0.005}, 9.995, True),
        ({"within": 0.005}, 10.0051, False),
        ({"within": 0.0}, 10.0, True),
        ({"as_good": "higher"}, 10.0, True),
        ({"as_good": "higher"}, 11.0, True),
        ({"as_good": "higher"}, 9.99, False),
        ({"as_good": "lower"}, 9.0, True),
        ({"as_good": "lower"}, 10.01, False),
        ({"as_good": "lower", "slack": 2.0}, 12.0, True),
        ({"as_good": "lower", "slack": 2.0}, 12.01, False),
        ({"least": 10.0}, 10.0, True),
        ({"least": 10.0}, 9.99, False),
        ({"most": 10.0}, 10.01, False),
        ({"least": 9.0, "most": 9.5}, 10.0, False),
    ],
)
def test_bounds_are_inclusive_and_a_figure_beyond_them_fails(options, value, expected):
    assert passes(options, [value]) is expected
    assert passes(options, [value - 1, value + 1]) is expected  # the mean


@pytest.mark.parametrize("by", [None, 0.0, 0.5, -0.5])
@pytest.mark.parametrize(("mine", "other"), [([1.0, 2.0], [1.0]), ([1.5], [1.5]), ([0.0], [3.0]), ([1.0], [1.5])])
def test_above_one_row_is_below_for_the_other(mine, other, by):
    above, below = Rule(above="x", by=by), Rule(below="x", by=by)
    assert above.applied_to(mine, None, other).passed == below.applied_to(other, None, mine).passed
    margin = by or 0.0
    assert above.applied_to(mine, None, other).passed == (statistics.fmean(mine) - statistics.fmean(other) > margin)


def test_a_direction_is_not_decided_without_the_other_row():
    for other in (None, [], [None], [math.nan]):
        assert not Rule(above="x").applied_to([1.0], None, other).passed


def test_a_text_must_be_that_of_every_seed():
    assert passes({"equal": "different"}, ["different", "different"])
    assert not passes({"equal": "different"}, ["different", "equal"])
    assert not passes({"equal": "different"}, [None]) and not passes({"equal": "1"}, [1.0])


def test_an_interval_contains_the_mean_and_grows_with_its_level():
    values = [9.0, 10.0, 12.0]
    mean = statistics.fmean(values)
    assert passes({"confidence": 0.01}, values, mean)
    widths = [half_width(values, level) for level in (0.5, 0.9, 0.99)]
    assert widths == sorted(widths) and widths[0] > 0
    assert passes({"confidence": 0.9}, values, mean + 0.99 * widths[1])
    assert not passes({"confidence": 0.9}, values, mean + 1.01 * widths[1])
    assert half_width([0.0, 2.0], 0.5) == pytest.approx(1.0)  # t(1) has its quartiles at ±1; standard error 1
    assert not passes({"confidence": 0.9}, [10.0])  # no interval over one seed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "exactly one of"),
        ({"within": 1.0, "least": 0.0}, "exactly one of"),
        ({"above": "a", "below": "b"}, "exactly one of"),
        ({"within": 1.0, "slack": 1.0}, "slack goes with as_good only"),
        ({"least": 1.0, "by": 1.0}, "by goes with above and below only"),
        ({"least": 2.0, "most": 1.0}, "least=2 is more than most=1"),
        ({"within": -1.0}, "greater than or equal to 0"),
        ({"as_good": "bigger"}, "'higher' or 'lower'"),
        ({"confidence": 1.0}, "less than 1"),
        ({"wihtin": 1.0}, "Extra inputs"),
    ],
)
def test_a_rule_says_one_thing(options, message):
    with pytest.raises(pydantic.ValidationError, match=message):
        Rule(**options)


def test_each_kind_has_its_own_words():
    said = [Rule(**options).words(str, str) for options in (*ONE_OF_EACH, {"equal": "different"}, {"above": "a", "by": -1.0})]
    assert len(set(said)) == len(said) and all(said)
