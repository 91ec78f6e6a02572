"""docs/algorithms.md: every algorithm has a row, and each "yes" and "no" is what fedlab does."""

from __future__ import annotations

import pathlib
import re

import numpy as np
import pytest

from fedlab.algorithms import FedAvg, TffProcess
from fedlab.config.composing import build_experiment, compose
from fedlab.errors import ConfigError
from fedlab.run import rules
from fedlab.types import Cohort

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


@pytest.mark.sampled(one_in=2)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0].strip("`"))
def test_a_row_says_what_is_refused(row, tmp_path, monkeypatch):
    process = row[0].strip("`")
    own = {
        "fed_buff": ["cohort=buffered", "clock=constant"],
        "gan": ["model=gan_small", "evaluation=gan"],
        "tff": ["process.build=a_process.build"],
    }.get(process, [])
    (tmp_path / "a_process.py").write_text("def build(model, aggregator): ...")
    monkeypatch.syspath_prepend(tmp_path)
    for place, protection in PROTECTIONS.items():
        experiment = build_experiment(compose([f"process={process}", *own, protection]))
        assert row[place] in ("yes", "no")
        if row[place] == "yes":
            rules.check(experiment)
        else:
            with pytest.raises(ConfigError, match=rf"^process={process} ") as caught:
                rules.check(experiment)
            assert not re.search("\n", str(caught.value))


def test_the_process_of_the_page_is_fed_avg(lab):
    page = (ROOT / "docs" / "algorithms.md").read_text()
    found: dict = {}
    exec(re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0], found)
    given = Cohort(1, np.arange(len(lab.sizes)), np.zeros(0, np.int64)), lab.inputs(1, 1)[-1]
    trainers = [lab.training(process) for process in (TffProcess(build=found["build"]), FedAvg())]
    for trainer in trainers:
        trainer.next(*given)
    assert lab.distance(*([np.asarray(w) for w in trainer.weights] for trainer in trainers)) < 1e-5
