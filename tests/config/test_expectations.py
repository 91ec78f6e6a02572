"""`expect:` in experiment files: every file has one, its header says the same, and a run that misses it ends with exit code 4."""

from __future__ import annotations

import pathlib
import re

import pytest

from fedlab.archive import read_run
from fedlab.cli.main import main
from fedlab.config import composing, expectations
from fedlab.config.choices import config_dir
from fedlab.config.expectations import Expectation, Figure, applicable, expected_of, outcome
from fedlab.errors import ConfigError
from fedlab.targets import target_in
from tests.report.conftest import records_of, write_run

FILES = sorted((config_dir() / "experiment").rglob("*.yaml"))
NAMES = [path.relative_to(config_dir() / "experiment").with_suffix("").as_posix() for path in FILES]


def header(name: str) -> str:
    """The paragraph of the header that begins with Expect, in one line."""
    lines = re.match(r"(#.*\n)+", (config_dir() / "experiment" / f"{name}.yaml").read_text()).group(0).splitlines()
    return re.search(r"Expect .*", " ".join(line.lstrip("# ").rstrip() for line in lines)).group(0)


def close(text: str, value: float) -> bool:
    """Whether a printed number is `value`, or `value` in percent, to all of its digits."""
    half = 0.5 * 10.0 ** -len(text.partition(".")[2]) + 1e-9
    return abs(float(text) - value) <= half or abs(float(text) - 100 * value) <= half


@pytest.mark.parametrize("name", NAMES)
def test_a_header_says_what_is_expected(name):
    expected, words = expected_of(name), header(name)
    numbers = re.findall(r"\d+(?:\.\d+)?", words.replace(",", ""))
    for figure in expected.figures:
        if isinstance(figure.value, str):
            assert figure.value in words
        elif figure.value is not None:
            assert any(close(number, figure.value) for number in numbers), f"{figure.name}: {figure.value} is not in: {words}"
    if expected.figures:
        first = re.search(r"(\d+(?:\.\d+)?) % test accurac", words)
        values = [figure.value for figure in expected.figures if figure.metric.endswith("test_accuracy")]
        values += [target for figure in expected.figures if (target := target_in(figure.metric)) is not None]
        assert not first or any(close(first[1], value) for value in values), f"{first[0]} is not in expect: of {name}"


def test_a_header_with_another_figure_is_noticed():
    assert close("97.9", 0.979) and close("97.90", 0.979) and not close("97.8", 0.979) and not close("97.95", 0.979)
    assert close("98", 0.979) and close("15.4", 15.4) and not close("13", 15.4)


@pytest.mark.sampled
@pytest.mark.parametrize("name", NAMES)
def test_what_is_expected_is_no_option_of_a_run(name):
    assert composing.EXPECTED not in composing.compose([f"+experiment={name}"])


@pytest.mark.parametrize(
    ("options", "found", "holds"),
    [
        ({"value": 0.97, "within": 0.01}, 0.98, True),
        ({"value": 0.97, "within": 0.01}, 0.9801, False),
        ({"value": 0.97, "within": 0.01}, 0.9599, False),
        ({"value": 0.97, "within": 0.01}, float("nan"), False),
        ({"value": 0.97, "within": 0.01}, None, False),  # it is not there
        ({"value": 0.97, "within": 0.01}, "inf", False),
        ({"least": 0.9}, 0.9, True),
        ({"least": 0.9, "most": 0.95}, 0.96, False),
        ({"most": 8}, 8.5, False),
        ({"value": "equal"}, "equal", True),
        ({"value": "equal"}, "different", False),
    ],
)
def test_a_figure_holds_or_not(options, found, holds):
    assert Figure(metric="x", **options).holds(found) is holds


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give either a value, or least and most"),
        ({"value": 1, "within": 0, "least": 1}, "give either a value, or least and most"),
        ({"value": 1}, "a number needs its tolerance"),
        ({"value": "equal", "within": 1}, "a number needs its tolerance"),
        ({"value": 1, "within": -1}, "greater than or equal to 0"),
        ({"value": 1, "within": 1, "round": 0}, "greater than 0"),
        ({"metric": "a/rounds_to[0.97]", "most": 50, "round": 3}, "is a figure of all rounds: leave round=3 out"),
    ],
)
def test_an_expectation_says_one_thing(options, message):
    with pytest.raises(ValueError, match=message):
        Figure(**{"metric": "x", **options})


def test_figures_of_a_run_are_those_at_its_end_in_a_round_or_to_a_target(tmp_path):
    run = read_run(write_run(tmp_path / "run", records=records_of(80), summary={"difftest_verdict": "equal"}))
    figures = [
        Figure(metric="test_accuracy", value=0.9625, within=0.0001),
        Figure(metric="test_accuracy", round=2, value=0.67, within=0.001),
        Figure(metric="rounds_to[0.96]", value=60, within=0.1),
        Figure(metric="rounds_to[0.99]", most=80),
        Figure(metric="difftest_verdict", value="equal"),
        Figure(metric="no_such_figure", least=0),
    ]
    lines, missed = outcome(Expectation(minutes=1, figures=figures), run)
    assert [line.endswith("as expected") for line in lines] == [True, True, True, False, True, False]
    assert missed == (
        "missed 2 of 6 expected figures: rounds_to[0.99] is not there, expected at most 80; "
        "no_such_figure is not there, expected at least 0"
    )
    assert outcome(Expectation(minutes=1, figures=figures[:1]), run)[1] is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], r"choose one with \+experiment=NAME"),
        (
            ["+experiment=digits/fedavg", "num_rounds=2"],
            r"digits/fedavg unchanged, and do not apply: num_rounds is 30 there, 2 here",
        ),
        (["+experiment=digits/fedavg", "seed=1"], r"do not apply: seed is 0 there, 1 here"),
        (["+experiment=digits/fedavg", "stop.patience=2"], r"do not apply: stop\.patience is None there, 2 here"),
        (["+experiment=gan/published"], r"no figures are expected of gan/published: it has been run for 3 rounds only"),
        (["+experiment=gan/debug"], r"single runs\. gan/debug: this is an investigation, not a single run"),
        (["+experiment=digits/search_optuna"], "--expect compares single runs, and this is a sweep: leave --expect out"),
    ],
)
def test_figures_apply_to_the_experiment_as_it_is(words, message):
    with pytest.raises(ConfigError, match=message):
        applicable(words)


@pytest.mark.parametrize(
    ("file", "before", "after", "shown"),
    [
        ("model/mlp", "hidden: [128]", "hidden: [7]", r"model\.hidden"),
        ("train", "eval_every: 1", "eval_every: 7", "eval_every is 1 there, 7 here"),
    ],
)
def test_a_folder_that_hides_a_file_changes_the_experiment(tmp_path, file, before, after, shown):
    shipped = (config_dir() / f"{file}.yaml").read_text()
    assert before in shipped
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / f"{file}.yaml").write_text(shipped.replace(before, after))
    with pytest.raises(ConfigError, match=f"do not apply: {shown}"):
        applicable(["+experiment=digits/fedavg"], str(tmp_path))


def test_places_and_loggers_change_nothing(tmp_path):
    assert applicable(["+experiment=digits/fedavg", f"data.dir={tmp_path}", "logger=[]", "checkpoint.every=3"]).figures


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Writes an experiment of a user with one expected figure, in the folder of the test."""

    def write(expect: str) -> list[str]:
        folder = tmp_path / "own" / "experiment"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "tiny.yaml").write_text(f"# @package _global_\nnum_rounds: 1\nmodel:\n  hidden: [4]\n{expect}")
        monkeypatch.chdir(tmp_path)
        return ["train", "-cd", "own", "+experiment=tiny", "--expect"]

    return write


@pytest.mark.parametrize(("least", "code"), [(0.0, 0), (1.1, 4)])
def test_a_run_that_misses_what_is_expected_says_so_in_one_line_and_ends_with_4(tensorflow, own, capsys, least, code):
    words = own(f"expect:\n  minutes: 1\n  figures:\n    - {{metric: test_accuracy, least: {least}}}\n")
    assert main([*words, "hydra.run.dir=run"]) == code
    printed = capsys.readouterr()
    assert f"expected: test_accuracy at least {least:g}; here: 0." in printed.out
    missed = [line for line in printed.err.splitlines() if "missed" in line]
    assert len(missed) == (code == 4) and all(
        line.startswith("fedlab train: missed 1 of 1 expected figures: ") for line in missed
    )
    assert composing.EXPECTED not in read_run(pathlib.Path("run")).config


@pytest.mark.parametrize(
    ("expect", "words", "message"),
    [
        ("", [], "experiment tiny expects nothing"),
        ("expect:\n  minutes: 1\n", [], "give figures, or say with unmeasured why there are none"),
        ("expect:\n  figures: [{metric: a, value: 1}]\n  minutes: 1\n", [], "expect.figures.0: a: a number needs its tolerance"),
        ("expect:\n  figures: [{metric: a, least: 1}]\n  minutes: 1\n", ["-m"], "leave -m"),
        ("expect:\n  figures: [{metric: a, least: 1}]\n  minutes: 1\n", ["--cfg", "job"], "leave -m, --cfg"),
        ("expect:\n  figures: [{metric: a, least: 1}]\n  minutes: 1\n", ["-cn", "mine"], "leave --config-name mine out"),
    ],
)
def test_a_mistake_in_it_is_found_before_training(own, capsys, expect, words, message):
    assert main([*own(expect), *words]) == 2
    assert message in capsys.readouterr().err and not list(pathlib.Path().glob("outputs/*"))


def test_a_resumed_run_is_not_compared(capsys):
    assert main(["train", "resume=run", "--expect"]) == 2
    assert "--expect does not go with resume=" in capsys.readouterr().err
    assert expectations.EXIT_CODE == 4
