"""What a user sees while a run goes on and when it has ended."""

import io

import pytest
from rich.console import Console
from rich.text import Text

from fedlab.archive import RunFolder
from fedlab.archive.task import CLASSIFICATION
from fedlab.cli.summary import print_summary
from fedlab.console.display import RoundBar, lines_on, rounds_on
from fedlab.run.progress import Caution, Failure


@pytest.mark.parametrize("width", [80, 200])
def test_a_terminal_keeps_round_bar_and_time_left(width):
    console = Console(file=io.StringIO(), force_terminal=True, width=width)
    display = RoundBar(1500, console)
    arms = ("reference", "with_weight_noise")
    measured = {f"{arm}/{name}": 0.98765 for arm in arms for name in ("train_loss", "test_accuracy")}
    for number in (1, 2):
        display.log({"round": number, "seconds": 2.5, **measured})
    shown = display._bar.get_renderable()
    display.close()
    other = Console(file=io.StringIO(), force_terminal=True, width=width)
    other.print(shown)
    (line,) = Text.from_ansi(other.file.getvalue()).plain.splitlines()
    assert "2/1500" in line and "━" in line and "1 h 2 min left" in line and "reference loss 0.98" in line


def test_lines_of_a_run_are_printed_as_they_are_and_in_yellow_what_asks_for_attention():
    console = Console(file=io.StringIO(), force_terminal=True, width=40)
    for line in ("run folder: outputs/[bold]mine/" + "x" * 60, Caution("not as when [red] it began")):
        lines_on(console)(line)
    first, second = console.file.getvalue().splitlines()
    assert first == "run folder: outputs/[bold]mine/" + "x" * 60
    assert second == "\x1b[33mnot as when [red] it began\x1b[0m"


def test_a_part_that_failed_is_named_on_stderr_even_if_quiet(capsys):
    console = Console(file=io.StringIO(), quiet=True)
    lines_on(console)("round 1")
    lines_on(console)(Failure("the csv logger failed: [red]"))
    assert console.file.getvalue() == ""
    assert capsys.readouterr() == ("", "fedlab train: the csv logger failed: [red]\n")


def test_where_there_is_no_terminal_rounds_are_lines_and_quiet_is_silent():
    console = Console(file=io.StringIO(), width=40)
    (logger,) = rounds_on(console)(2)
    for number in (1, 2):
        logger.log({"round": number, "seconds": 0.5, "train_loss": 1.25})
    assert console.file.getvalue().splitlines() == [f"round {n}/2  loss 1.2500  0.500 s/round" for n in (1, 2)]
    assert rounds_on(Console(quiet=True))(2) == []


def test_the_end_says_what_the_run_made_once(tmp_path):
    folder = RunFolder(tmp_path)
    folder.report.write_text("")
    summary = {
        "a/test_accuracy": 0.9512,
        "a/attack_score_global": 0.4321,
        "b/test_accuracy": 0.91,
        "non_finite_clients_total": 0,
        "seconds_total": 5.0,
        "seconds_per_round": 0.1,
    }
    console = Console(file=io.StringIO(), width=200)
    print_summary(console, summary, folder, CLASSIFICATION)
    lines = console.file.getvalue().splitlines()
    assert [line.split(":")[0] for line in lines[:-2]] == ["a", "a", "b"]
    assert "test accuracy 95.12%" in lines[0] and "attack: score global 0.43" in lines[1]
    assert lines[-1].startswith("report: ") and lines[-1].endswith("/report.html")
