"""What a user sees while a run goes on and when it has ended."""

import io

import pytest
from rich.console import Console
from rich.text import Text

from fedlab.archive import RunFolder
from fedlab.cli.display import RoundDisplay
from fedlab.cli.summary import print_summary


@pytest.mark.parametrize("width", [80, 200])
def test_a_terminal_keeps_round_bar_and_time_left(width):
    console = Console(file=io.StringIO(), force_terminal=True, width=width)
    display = RoundDisplay(1500, console)
    arms = ("reference", "with_weight_noise")
    measured = {f"{arm}/{name}": 0.98765 for arm in arms for name in ("train_loss", "test_accuracy")}
    for number in (1, 2):
        display.log({"round": number, "seconds": 2.5, **measured})
    shown = display._progress.get_renderable()
    display.close()
    other = Console(file=io.StringIO(), force_terminal=True, width=width)
    other.print(shown)
    (line,) = Text.from_ansi(other.file.getvalue()).plain.splitlines()
    assert "2/1500" in line and "━" in line and "1 h 2 min left" in line and "reference loss 0.98" in line


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
    print_summary(console, summary, folder)
    lines = console.file.getvalue().splitlines()
    assert [line.split(":")[0] for line in lines[:-2]] == ["a", "a", "b"]
    assert "test accuracy 95.12%" in lines[0] and "attack: score global 0.4321" in lines[1]
    assert lines[-1].startswith("report: ") and lines[-1].endswith("/report.html")
