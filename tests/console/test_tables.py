"""Tables on terminals: whatever the width, no word is broken between letters, no cell is lost, and no line is cut."""

from __future__ import annotations

import io
import unicodedata

import pytest
from rich.console import Console

from fedlab.console.tables import print_on, print_table
from fedlab.errors import printable

COLUMNS = ("run", "name", "status", "rounds", "accuracy", "duration", "started", "differs")
ROWS = [
    (
        f"outputs/digits/fed_avg/2026-11-26_16-0{i}-00",
        "digits/fed_avg",
        "finished",
        "6/6",
        "84.96%",
        "2 min 9 s",
        "2026-11-26 16:09",
        d,
    )
    for i, d in enumerate(("", "client_optimizer.learning_rate 0.1, model Mlp", "9 more (--json shows them)"))
]


@pytest.mark.parametrize("width", [60, 80, 100, 132, 250])
@pytest.mark.parametrize("kept", [3, 5, 8])
def test_every_word_of_a_table_is_whole(width, kept):
    console = Console(file=io.StringIO(), width=width, force_terminal=True, no_color=True, markup=False, highlight=False)
    print_on(console, COLUMNS[:kept], [row[:kept] for row in ROWS], numeric=("rounds", "accuracy", "duration"), clip=("name",))
    text = console.file.getvalue().replace("\N{NO-BREAK SPACE}", " ").replace("\x1b[1m", "").replace("\x1b[0m", "")
    lines = text.splitlines()
    assert max(map(len, lines)) <= width and len(lines) < 25
    for row in ROWS:
        assert all(part in text for cell in row[:kept] for part in cell.split())
        assert not kept > 5 or row[5] in text  # a number stays with its unit


@pytest.mark.parametrize("text", ["\x1b[2J", "\x9b31m", "a\rb", "\u202egnp", "\x07", "a\x00b"])
def test_a_terminal_obeys_no_text_from_a_file(text, capsys):
    """The name of a run of other people may contain commands to the terminal: they are printed as they are written."""
    print_table(("run", "name"), [("own", text)])
    said = capsys.readouterr().out
    assert text not in said and "\\" in said
    assert not any(unicodedata.category(c) in ("Cc", "Cf") for c in said.replace("\n", ""))
    assert printable("ε = 1\N{NO-BREAK SPACE}s, naïve 図\n") == "ε = 1\N{NO-BREAK SPACE}s, naïve 図\n"
