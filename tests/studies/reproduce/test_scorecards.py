"""Scorecards: mistakes are found before anything is run, rows are judged by the runs in the folder, exit codes 0, 4 and 2."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import pathlib
import re

import pytest

from fedlab.cli.main import main
from fedlab.config.choices import config_dir
from fedlab.errors import ConfigError, FedlabError
from fedlab.studies.reproduce import experiments, page, scorecard, text
from fedlab.studies.reproduce.measuring import rule_of
from fedlab.studies.reproduce.plan import plan
from fedlab.studies.reproduce.results import CardFolder, read_card, runs_in
from fedlab.studies.reproduce.running import card_of
from tests.report.conftest import records_of, write_run

NAMES = scorecard.names()
TINY = "overrides: [num_rounds=1, 'model.hidden=[4]', data.max_examples=100, evaluation.per_client=false, 'logger=[]']"
ROW = """
  {name}:
    source: table 1
    metric: {metric}
    experiment: digits/fedavg
    {overrides}
    rule: {rule}
    minutes: 0.1
    {more}"""


def row(name: str, rule: str, metric: str = "test_accuracy", more: str = "", overrides: str = TINY) -> str:
    return ROW.format(name=name, rule=rule, metric=metric, more=more, overrides=overrides)


def write_tiny(folder: pathlib.Path, *rows: str) -> None:
    """Writes the scorecard own/reproduce/tiny.yaml in `folder`."""
    (folder / "own" / "reproduce").mkdir(parents=True, exist_ok=True)
    file = folder / "own" / "reproduce" / "tiny.yaml"
    file.write_text("title: A tiny scorecard\npaper: Someone 2020\nrows:" + "".join(rows) + "\n")


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Writes the scorecard own/reproduce/tiny.yaml in the folder of the test, which becomes the current one."""

    def write(*rows: str) -> None:
        write_tiny(tmp_path, *rows)
        monkeypatch.chdir(tmp_path)

    return write


def tiny(*args: str) -> list[str]:
    return ["reproduce", "-cd", "own", "tiny", *args]


@pytest.mark.sampled
@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_scorecard_can_be_planned_and_opens_with_its_command(name):
    planned = plan(name, "", quick=True)
    assert planned.asked and all(planned.card.rows[key].is_asked_for(quick=True) for key in planned.asked)
    header = re.match(r"(#.*\n)+", (config_dir() / "reproduce" / f"{name}.yaml").read_text()).group(0)
    assert re.search(rf"^#   fedlab reproduce {name}$", header, re.MULTILINE)
    assert f"`{name}`" in (config_dir().parent / "docs" / "reproduce.md").read_text()


@pytest.mark.slow
def test_every_figure_that_an_experiment_expects_can_be_a_row():
    planned = plan("experiments", "")
    assert planned.asked and {row.experiment for row in planned.card.rows.values()} == {job.name for job in planned.todo}


def test_the_scorecard_of_experiments_has_the_figures_of_runs_sweeps_and_investigations():
    card = experiments.scorecard()
    chosen = {row.experiment for row in card.rows.values()}
    assert {"mnist/2nn_iid", "difftest/engines", "split/nopeek", "gan/debug", "digits/search_optuna"} <= chosen
    assert chosen.isdisjoint({"gan/published", "gan/debug_published"})  # they expect no figures
    for key, figure in (("mnist-2nn_iid-1", "within 0.50 points of 97.90%"), ("difftest-engines-1", "equal for every seed")):
        assert rule_of(card.rows[key]) == figure


def test_quick_rows_take_a_quarter_of_an_hour_together():
    cards = [scorecard.read(name) for name in NAMES]
    assert sum(card.minutes(card.asked_for(quick=True)) for card in cards) <= 15


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([row("a", "{within: 1}")], "its rule compares with the paper's figure: give paper as a number"),
        ([row("a", "{above: b}")], "row a is compared with b, which is no other row"),
        ([row("a", "{above: a}")], "row a is compared with a, which is no other row"),
        ([row("a", "{least: 0}", "rounds_to[x]")], "names no number: write rounds_to[0.97]"),
        ([row("a", "{least: 0}", more="wrong: 1")], "wrong: Extra inputs are not permitted"),
        ([row("a", "{least: 0}", more="seeds: []")], "seeds"),
        ([row("a", "{least: 0}", more="seeds: [1, 1]")], "it names a seed twice"),
        ([row("a b", "{least: 0}")], "row a b: a name consists of letters"),
        ([row("a", "{least: 0}", overrides="overrides: [num_round=1]")], "row a: no option 'num_round'"),
        ([row("a", "{least: 0}", overrides="overrides: [num_rounds=0]")], "row a: num_rounds=0: must be greater than 0"),
        ([row("a", "{least: 0}", overrides="overrides: [seed=3]")], "row a: 'seed=3' stands among its overrides"),
        ([row("a", "{least: 0}", overrides="overrides: [hydra.run.dir=x]")], "row a: "),
        ([row("a", "{least: 0}", "b/test_accuracy")], "row a: b/test_accuracy is of arm 'b', and its run has no arms"),
        ([row("a", "{least: 0}", more="round: 2")], "row a: its figure is that of round 2, and its run has 1 rounds"),
        ([row("a", "{least: 0}", "rounds_to[0.9]", more="at: highest")], "give at or round"),
        ([row("good", "{least: 0}"), row("a", "{least: 0}", more="size: quick", overrides="overrides: [seeed=1]")], "row a: "),
    ],
)
def test_a_mistake_in_a_row_is_found_before_anything_is_run(own, capsys, rows, message):
    own(*rows)
    assert main(tiny()) == 2
    error = capsys.readouterr().err
    assert error.startswith("fedlab reproduce: scorecard tiny") and message in error and error.count("\n") == 1
    assert not pathlib.Path("reproductions").exists()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["reproduce", "mcmahan"], "no scorecard 'mcmahan'. Did you mean 'mcmahan2017'?"),
        (["reproduce", "mcmahan2017", "--row", "2nn_idd"], "no row '2nn_idd'. Did you mean '2nn_iid'?"),
        (["reproduce", "mcmahan2017", "--all"], "leave the names out"),
        (["reproduce", "mcmahan2017", "--quick", "--row", "2nn_iid"], "leave --quick out"),
        (["reproduce", "mcmahan2017", "herbold2023", "--row", "2nn_iid"], "--row goes with one scorecard"),
        (["reproduce", "--all", "--out", "x"], "--out goes with one scorecard"),
    ],
)
def test_a_wrong_word_is_a_line_and_exit_code_2(tmp_path, monkeypatch, capsys, args, message):
    monkeypatch.chdir(tmp_path)
    assert main(args) == 2
    assert message in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_without_a_name_the_scorecards_are_listed(capsys):
    assert main(["reproduce"]) == 0
    printed = capsys.readouterr().out
    assert all(f"\n{name} " in printed for name in NAMES)


def test_a_row_asks_for_those_with_which_it_is_compared(own):
    own(row("a", "{above: b}"), row("b", "{below: c}"), row("c", "{least: 0}"), row("d", "{least: 0}", more="size: quick"))
    assert plan("tiny", "", rows=["a"], own="own").asked == ("a", "b", "c")
    assert plan("tiny", "", quick=True, own="own").asked == ("d",)
    assert plan("tiny", "", own="own").asked == ("a", "b", "c")
    own(row("a", "{least: 0}"))
    with pytest.raises(ConfigError, match="it has no quick rows"):
        plan("tiny", "", quick=True, own="own")


def test_rows_with_equal_runs_share_them(own):
    other = TINY.replace("num_rounds=1", "num_rounds=2")
    logged = TINY.replace("logger=[]", "logger=[tensorboard]")
    own(
        row("a", "{least: 0}", more="seeds: [0, 1]"),
        row("b", "{least: 0}", "test_loss", overrides=logged),
        row("c", "{least: 0}", overrides=other),
    )
    planned = plan("tiny", "", own="own")
    assert planned.jobs["a"][0].folder == planned.jobs["b"][0].folder and len(planned.todo) == 3
    assert [job.config["seed"] for job in planned.jobs["a"]] == [0, 1]


@pytest.fixture(scope="module")
def card(tmp_path_factory):
    """(plan, scorecard) with three finished runs of ten rounds, whose accuracies are 90 %, 92 % and 94 %."""
    root, seeds = tmp_path_factory.mktemp("card"), "seeds: [0, 1, 2]"
    write_tiny(
        root,
        row("near", "{within: 0.02}", more=f"{seeds}\n    paper: 0.9"),
        row("far", "{within: 0.001}", more=f"{seeds}\n    paper: 0.9\n    note: The network is <smaller>."),
        row("interval", "{confidence: 0.9}", more=f"{seeds}\n    paper: 0.91"),
        row("target", "{as_good: lower}", "rounds_to[0.5]", more=f"{seeds}\n    paper: 87"),
        row("unreached", "{least: 0}", "rounds_to[0.99]", more=seeds),
        row("nowhere", "{least: 0}", "test_acuracy", more=seeds),
        row("lowest", "{most: 0.4}", more=f"{seeds}\n    at: lowest"),
        row("verdict", "{equal: different}", "difftest_verdict", more=seeds),
        row("half", "{least: 0}", more="seeds: [0, 3]"),
        row("versus", "{above: half}", more=seeds),
        row("elsewhere", "{least: 0}", overrides=TINY.replace("[4]", "[5]")),
        row("broken", "{least: 0}", overrides=TINY.replace("[4]", "[6]")),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        planned = plan("tiny", "fedlab reproduce tiny", own="own")
    for job, ceiling in zip(planned.jobs["near"], (0.96, 0.98, 1.0)):  # 0.06 less in the last of ten rounds
        write_run(job.folder, records=records_of(10, ceiling), summary={"difftest_verdict": "different"})
    return planned, card_of(planned, {planned.jobs["broken"][0].folder: "out of memory"})


def test_rows_are_judged_by_the_runs_in_the_folder(card):
    rows = {one.name: one for one in card[1].rows}
    verdicts = {name: one.verdict for name, one in rows.items()}
    assert {name for name, verdict in verdicts.items() if verdict == "passed"} == {
        *("near", "interval", "target", "lowest", "verdict")
    }
    assert {name for name, verdict in verdicts.items() if verdict == "not run"} == {"half", "versus", "elsewhere"}
    near = rows["near"]
    assert near.mean == pytest.approx(0.92) and near.deviation == pytest.approx(0.02) and near.difference == pytest.approx(0.02)
    assert rows["lowest"].mean == pytest.approx(0.38)
    assert rows["unreached"].reason == "the target was not reached"
    assert rows["nowhere"].reason == "the run has no test_acuracy. Did you mean 'test_accuracy'?"
    assert rows["broken"].reason == "the run with seed 0 failed: out of memory"
    assert not card[1].passed


def test_a_scorecard_passes_only_if_every_row_that_was_asked_for_has(card):
    planned = card[0]
    for asked, passed in ((["near"], True), (["near", "target"], True), (["near", "far"], False), (["near", "half"], False)):
        assert card_of(dataclasses.replace(planned, asked=tuple(asked)), {}).passed is passed
    assert not card_of(dataclasses.replace(planned, asked=()), {}).passed


def test_a_scorecard_is_a_page_a_text_and_a_file(card):
    planned, found = card
    found.write(planned.folder)
    text.write(found, planned.folder.text)
    assert read_card(planned.folder.path) == found
    written, folders = page.write(planned.folder.path, None)
    html, markdown = written.read_text(), planned.folder.text.read_text()
    assert {path.name for path in folders} >= {job.folder.name for job in planned.jobs["near"]}
    for shown in ("92.00% ± 2.00%", "+2.00 points", "within 2.00 points of 90.00%", "table 1"):
        assert shown in html.replace("\N{NO-BREAK SPACE}", " ") and shown in markdown
    assert "&lt;smaller&gt;" in html and "<smaller>" not in html
    line = next(line for line in markdown.splitlines() if line.startswith("| half "))
    assert "not run" in line and "not run: half, versus, elsewhere" in markdown
    with contextlib.ExitStack() as stack:
        assert len(runs_in(planned.folder.path, stack)) == 3
        with pytest.raises(FedlabError, match="is being written by process"):
            runs_in(planned.folder.path, stack)
    empty = planned.folder.path.parent
    assert page.write(empty, None) is None and runs_in(empty, contextlib.ExitStack()) is None


def test_a_damaged_scorecard_is_an_error(tmp_path):
    folder = CardFolder(tmp_path)
    for content in ("{", "[]", json.dumps({"scorecard_version": 2}), json.dumps({"scorecard_version": 99})):
        folder.table.write_text(content)
        with pytest.raises(FedlabError, match=r"is damaged|is of version 99"):
            read_card(tmp_path)


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory):
    """A folder in which a scorecard has been run once, with the exit code and the state of its run."""
    root = tmp_path_factory.mktemp("reproduced")
    rows = (
        row("good", "{least: 0}"),
        row("bad", "{least: 1.1}", more="note: No accuracy is above 1."),
        row("fast", "{least: 0}", "test_loss", more="size: quick"),
        row("fails", "{least: 0}", more="size: quick", overrides=TINY.replace("num_rounds=1", "data.dir=nowhere, data=mnist")),
        row("left", "{least: 0}", more="size: quick", overrides=TINY.replace("[4]", "[5]")),
    )
    write_tiny(root, *rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        code = main(tiny())
    return root, code, states(root)


def states(root: pathlib.Path) -> dict[str, int]:
    """When each run below `root` has written its manifest last."""
    return {path.parent.name: path.stat().st_mtime_ns for path in root.glob("reproductions/*/runs/*/manifest.json")}


def test_a_failed_row_ends_with_4_and_nothing_is_trained_twice(reproduced, monkeypatch, capsys):
    root, code, before = reproduced
    assert code == 4 and len(before) == 1  # two rows share their run
    monkeypatch.chdir(root)
    assert main(tiny()) == 4
    printed = capsys.readouterr()
    assert "run 1 of 1: digits/fedavg, seed 0: finished before" in printed.out
    assert "1 of the 2 rows asked for passed, 1 failed (bad); not run: fails, left" in printed.out
    assert printed.err.startswith("fedlab reproduce: bad: at least 110.00%: it is ") and printed.err.count("\n") == 1
    assert states(root) == before
    card = json.loads((root / "reproductions" / "tiny" / "scorecard.json").read_text())
    verdicts = {one["name"]: one["verdict"] for one in card["rows"]}
    assert verdicts == {"good": "passed", "bad": "failed", "fast": "passed", "fails": "not run", "left": "not run"}


def test_rows_that_all_pass_end_with_0(reproduced, monkeypatch, capsys):
    root, _, before = reproduced
    monkeypatch.chdir(root)
    assert main(tiny("--row", "good", "-q")) == 0
    out = capsys.readouterr().out
    assert out == "tiny: 1 of the 1 row asked for passed; not run: fails, left\n"
    assert main(tiny("--row", "good", "--row", "fast", "-q")) == 0
    assert states(root) == before
    assert main(["report", "reproductions/tiny"]) == 0


@pytest.mark.slow
def test_a_run_that_fails_is_the_reason_of_its_row_and_the_others_go_on(reproduced, monkeypatch, capsys):
    root, _, before = reproduced
    monkeypatch.chdir(root)
    assert main(tiny("--quick")) == 4
    error = capsys.readouterr().err
    assert error.startswith("fedlab reproduce: fails: at least 0.00%: the run with seed 0 failed: ") and "nowhere" in error
    card = json.loads((root / "reproductions" / "tiny" / "scorecard.json").read_text())
    assert {one["name"] for one in card["rows"] if one["verdict"] == "passed"} == {"good", "fast", "left"}
    assert states(root).items() > before.items()
