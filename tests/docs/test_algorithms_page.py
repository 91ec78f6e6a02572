"""docs/algorithms.md: every algorithm has a row, and each "yes" and "no" is what fedlab does."""

from __future__ import annotations

import pathlib
import re

import pytest

from fedlab.config.composing import build_experiment, compose
from fedlab.errors import ConfigError
from fedlab.run import rules

ROOT = pathlib.Path(__file__).parents[2]
HEADER, _, *ROWS = [
    [cell.strip() for cell in line.strip("| ").split(" | ")]
    for line in (ROOT / "docs" / "algorithms.md").read_text().splitlines()
    if line.startswith("|")
]
PROTECTIONS = {place: words.strip("`") for place, words in enumerate(HEADER) if "=" in words}


def test_every_algorithm_has_a_row():
    assert sorted(row[0].strip("`") for row in ROWS) == sorted(path.stem for path in (ROOT / "conf" / "process").glob("*.yaml"))
    assert len(PROTECTIONS) == 5 and all(len(row) == len(HEADER) for row in ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0].strip("`"))
def test_a_row_says_what_is_refused(row):
    process = row[0].strip("`")
    own = ["model=gan_small", "evaluation=gan"] if process == "gan" else []
    for place, protection in PROTECTIONS.items():
        experiment = build_experiment(compose([f"process={process}", *own, protection]))
        assert row[place] in ("yes", "no")
        if row[place] == "yes":
            rules.check(experiment)
        else:
            with pytest.raises(ConfigError, match=rf"^process={process} ") as caught:
                rules.check(experiment)
            assert not re.search("\n", str(caught.value))
