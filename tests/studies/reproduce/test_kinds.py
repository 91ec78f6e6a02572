"""Rows whose figures come from a sweep, an investigation, or a verb: mistakes are found before any run, and figures are read."""

from __future__ import annotations

import json
import pathlib

import pytest

import fedlab
from fedlab.cli.main import main
from fedlab.errors import ConfigError
from fedlab.studies.reproduce import page
from fedlab.studies.reproduce.jobs import BatchJob, VerbJob
from fedlab.studies.reproduce.plan import plan
from fedlab.studies.reproduce.running import _beginning, card_of
from tests.report.conftest import records_of, write_run

RATES = "client_optimizer.learning_rate=0.1,0.3"
EPSILON = "privacy --population 10 --cohort 10 --rounds 1 --noise 1 --sampling all --delta 1e-5"


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Writes the scorecard own/reproduce/kinds.yaml, a row per dict, in the folder of the test, which becomes the current one."""

    def write(**rows: dict) -> None:
        (tmp_path / "own" / "reproduce").mkdir(parents=True, exist_ok=True)
        shared = {"source": "table 1", "metric": "test_accuracy", "rule": {"least": 0.0}, "minutes": 0.1}
        content = {"title": "Kinds", "paper": "Someone 2020", "rows": {name: {**shared, **row} for name, row in rows.items()}}
        (tmp_path / "own" / "reproduce" / "kinds.yaml").write_text(json.dumps(content))
        monkeypatch.chdir(tmp_path)

    return write


def planned(**options):
    return plan("kinds", "fedlab reproduce kinds", own="own", **options)


def write_sweep(folder: pathlib.Path, status: str, ceilings: tuple[float, ...]) -> None:
    """A sweep over two learning rates with half of `ceilings` each, whose second setting is the best."""
    jobs, rates = [], [0.1] * (len(ceilings) // 2) + [0.3] * (len(ceilings) // 2)
    for i, (ceiling, rate) in enumerate(zip(ceilings, rates)):
        write_run(folder / f"job-{i}", records=records_of(10, ceiling))
        options = {"client_optimizer.learning_rate": rate, "seed": i % 2}
        job = {"number": i, "folder": f"job-{i}", "parameters": options, "status": "finished", "objective": [ceiling - 0.06]}
        jobs.append({**job, "seconds": 1.0, "failure": None, "command": ""})
    content = {"sweep_version": 1, "name": "digits/fedavg", "command": "", "status": status, "jobs": jobs}
    content |= {"objective": {"metrics": ["test_accuracy"], "directions": ["maximize"]}, "best_command": None}
    halves = (
        [job["number"] for job in jobs if job["parameters"]["client_optimizer.learning_rate"] == rate] for rate in (0.1, 0.3)
    )
    rated = [(numbers, {"client_optimizer.learning_rate": rate}) for numbers, rate in zip(halves, (0.1, 0.3))]
    groups = [{"jobs": numbers, "parameters": options, "objective": [0.9], "deviation": None} for numbers, options in rated]
    best = groups[1]["jobs"]
    content |= {"parameters": ["client_optimizer.learning_rate", "seed"], "groups": groups, "best": best}
    (folder / "sweep.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({}, "give either experiment or verb"),
        ({"experiment": "digits/fedavg", "verb": EPSILON}, "give either experiment or verb"),
        ({"verb": f"{EPSILON} --json"}, "verb contains the words after fedlab, without --json"),
        ({"verb": "privacy 'open"}, "verb: No closing quotation"),
        ({"verb": EPSILON, "seeds": [1]}, "seeds goes with experiment, and not with verb"),
        ({"verb": EPSILON, "metric": "rounds_to[0.9]"}, "rounds_to[0.9] goes with experiment, and not with verb"),
        ({"experiment": "digits/fedavg", "overrides": ["client.batch_size=10,0"]}, "client.batch_size=0: must be greater than 0"),
        ({"experiment": "digits/fedavg", "overrides": ["partition=iid,nowhere"]}, "nowhere"),
        (
            {"experiment": "digits/fedavg", "overrides": [RATES], "seeds": [0, 2]},
            "seeds 0, 2: those of a sweep must be consecutive",
        ),
        (
            {"experiment": "digits/fedavg", "overrides": [RATES, "objective.metric=[test_loss,train_loss]"]},
            "2 metric(s) (test_loss, train_loss) and no direction",
        ),
        (
            {"experiment": "digits/fedavg", "overrides": [RATES, "objective.target=0.9", "objective.cost=[rounds,bytes]"]},
            "its sweep has 2 objectives",
        ),
        ({"experiment": "digits/fedavg", "overrides": [RATES], "metric": "a/test_accuracy"}, "its run has no arms"),
        ({"experiment": "gan/debug", "overrides": ["corruption.fraction=0,0.5"]}, "one value per option: write a row for each"),
        ({"experiment": "gan/debug", "overrides": ["investigation.by=nobody"]}, "investigation.by=nobody"),
    ],
)
def test_a_mistake_is_found_before_anything_is_run(own, capsys, row, message):
    own(a=row)
    assert main(["reproduce", "-cd", "own", "kinds"]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and not pathlib.Path("reproductions").exists()


def test_a_sweep_is_one_job_and_ranks_by_the_figure_of_its_row(own):
    sweep = {"experiment": "digits/fedavg", "overrides": [RATES], "metric": "rounds_to[0.9]", "seeds": [1, 2]}
    own(a=sweep, b=sweep, c={**sweep, "overrides": [f"{RATES},1"]}, d={"experiment": "digits/search_optuna"})
    jobs = planned().jobs
    ((first,), (same,), (other,), (search,)) = jobs.values()
    assert isinstance(first, BatchJob) and first.folder == same.folder and first.folder != other.folder
    assert set(first.batch.words) >= {"-m", "objective.metric=rounds_to[0.9]", "seed=1", "objective.seeds=2"}
    own(a={**sweep, "overrides": [RATES, "objective.target=0.9"]})
    assert not any(word.startswith("objective.metric") for word in planned().todo[0].batch.words)
    assert isinstance(search, BatchJob) and str(search.folder) in search.batch.placing[0] and not first.has_finished


def test_a_sweep_may_rank_its_jobs_by_the_bytes_to_a_target(own):
    own(a={"experiment": "digits/fedavg", "overrides": [RATES, "objective.target=0.9", "objective.cost=bytes"]})
    ((job,),) = planned().jobs.values()
    assert isinstance(job, BatchJob) and not any("objective.metric" in word for word in job.batch.words)


def test_investigations_of_a_scorecard_share_their_classifier_and_run_one_by_one(own):
    own(
        a={"experiment": "gan/debug", "metric": "verdict", "rule": {"equal": "found"}, "seeds": [0, 3]},
        b={"experiment": "gan/debug", "metric": "low/inverted", "overrides": ["corruption.fraction=0"]},
        c={"experiment": "digits/fedavg"},
    )
    found = planned()
    assert len({job.folder for job in found.todo}) == 4
    first, second, third, single = found.todo
    assert {job.folder.parent for job in (first, second, third)} == {found.folder.runs}
    assert first.batch.placing == ("--out", str(found.folder.runs))
    waiting = [("", job) for job in (second, third, single)]
    assert [job for _, job in _beginning(waiting, [], 2)] == [second]

    class Busy:
        job = first

    assert [job for _, job in _beginning(waiting, [Busy()], 2)] == [single]
    assert list(_beginning(waiting, [Busy(), Busy()], 2)) == []


def test_verbs_end_before_runs_begin(own):
    own(a={"experiment": "digits/fedavg"}, b={"verb": EPSILON, "metric": "epsilon"})
    run, verb = planned().todo
    assert [job for _, job in _beginning([("", run), ("", verb)], [], 2)] == [verb]
    assert isinstance(verb, VerbJob) and verb.command == f"fedlab {EPSILON}"


def test_the_best_setting_of_a_sweep_is_the_figure_of_its_row(own):
    sweep = {"experiment": "digits/fedavg", "overrides": [RATES], "seeds": [0, 1]}
    own(a=sweep, b={**sweep, "metric": "rounds_to[0.5]"}, stopped={**sweep, "overrides": ["client.batch_size=5,10"]})
    found = planned()
    (job,), (ranked_by_rounds,), (stopped,) = found.jobs.values()
    write_sweep(job.folder, "finished", ceilings=(0.8, 0.9, 0.96, 1.0))
    write_sweep(stopped.folder, "running", ceilings=(0.8, 0.9))
    rows = {row.name: row for row in card_of(found, {}).rows}
    assert rows["a"].values == pytest.approx([0.90, 0.94]) and rows["a"].verdict == "passed"
    assert rows["a"].labels == ["sweep, seeds 0, 1"] and rows["a"].runs == [job.folder.relative_to(found.folder.path).as_posix()]
    assert "best of 2 settings: learning_rate=0.3" in rows["a"].reason and rows["a"].ended
    assert rows["b"].verdict == rows["stopped"].verdict == "not run" and ranked_by_rounds.folder != job.folder


def test_a_sweep_without_a_figure_or_with_a_damaged_file_is_continued(own):
    sweep = {"experiment": "digits/fedavg", "overrides": [RATES], "seeds": [0, 1]}
    own(a=sweep)
    found = planned()
    (job,) = found.todo
    write_sweep(job.folder, "finished", ceilings=(0.8, 0.9, 0.96, 1.0))
    assert job.has_finished and not job.is_due
    path = job.folder / "sweep.json"
    content = json.loads(path.read_text())
    failed = [{**one, "status": "failed", "objective": None, "failure": "no space left."} for one in content["jobs"]]
    groups = [{**group, "objective": None} for group in content["groups"]]
    path.write_text(json.dumps({**content, "status": "failed", "jobs": failed, "groups": groups, "best": []}))
    (row,) = card_of(found, {}).rows
    assert job.is_due and (row.verdict, row.reason) == ("failed", "the sweep has no figure: no space left")
    path.write_text("{")
    assert job.is_due and card_of(found, {}).rows[0].verdict == "not run"


@pytest.mark.parametrize("figures", [[{"epsilon": 1.0}], 5, {"epsilon": None}])
def test_a_verb_without_the_figure_fails_its_row(own, figures):
    own(a={"verb": EPSILON, "metric": "epsilon"})
    found = planned()
    (job,) = found.todo
    job.folder.mkdir(parents=True)
    (job.folder / "result.json").write_text(json.dumps({"command": "", "ended": None, "figures": figures}))
    (row,) = card_of(found, {}).rows
    assert (row.verdict, row.reason) == ("failed", "the verb computes no epsilon.")


def test_the_verdict_of_an_investigation_is_the_figure_of_its_row(own):
    investigation = {"experiment": "gan/debug", "rule": {"equal": "found"}}
    own(
        a={**investigation, "metric": "verdict"},
        b={**investigation, "metric": "low/inverted", "rule": {"least": 0.9}},
        c={**investigation, "metric": "low/blured", "rule": {"least": 0.9}},
    )
    found = planned()
    folder = found.todo[0].folder
    assert len(found.todo) == 1 and {row.verdict for row in card_of(found, {}).rows} == {"not run"}
    write_run(folder / "gans")
    finding = {"symptom": "inverted", "low": 0.98, "high": 0.0}
    verdict = {"verdict": "found", "found": "inverted", "lines": ["Found: much."], "findings": [finding]}
    (folder / "verdict.json").write_text(json.dumps(verdict))
    found.folder.path.mkdir(exist_ok=True)
    card = card_of(found, {})
    a, b, c = card.rows
    assert (a.mean, a.verdict, b.mean, b.verdict, c.verdict) == ("found", "passed", 0.98, "passed", "failed")
    assert "Found: much" in b.reason and c.reason.startswith("the run has no low/blured")
    card.write(found.folder)
    assert "investigation, seed 0" in page.write_page(card, found.folder, found.folder.page).read_text()


def test_a_verb_computes_the_figure_of_its_row(own, capsys):
    own(
        a={"verb": EPSILON, "metric": "epsilon", "paper": 4.9, "rule": {"as_good": "lower"}},
        b={"verb": EPSILON, "metric": "epsilonn"},
    )
    assert main(["reproduce", "-cd", "own", "kinds"]) == 4
    printed = capsys.readouterr()
    assert "run 1 of 1: fedlab privacy" in printed.out and "the verb computes no epsilonn. Did you mean 'epsilon'?" in printed.err
    (row, _) = json.loads(pathlib.Path("reproductions/kinds/scorecard.json").read_text())["rows"]
    (result,) = pathlib.Path("reproductions/kinds/runs").glob("*/result.json")
    card = fedlab.reproduce("kinds", "a", config_dir="own")
    assert card.passed and card.row("a").values == tuple(row["values"]) and card.row("b").verdict == "failed"
    assert (
        card == fedlab.open_scorecard(pathlib.Path("reproductions/kinds").absolute())
        and card.page.is_file()
        and card.row("a").runs() == []
    )
    assert card.command == "fedlab reproduce kinds --row a -cd own"
    assert row["verdict"] == "passed" and row["values"] == [json.loads(result.read_text())["figures"]["epsilon"]]
    assert row["labels"] == ["computed"] and row["seeds"] == [] and 4 < row["mean"] < 4.9
    own(a={"verb": "privacy --population 10 --cohort 20 --rounds 1 --noise 1", "metric": "epsilon"})
    with pytest.raises(ConfigError, match=r"fedlab privacy --population 10 .*: --cohort 20 exceeds --population 10"):
        from fedlab.studies.reproduce.running import reproduce

        reproduce(planned(), lambda line: None)


@pytest.mark.parametrize(
    ("words", "options", "message"),
    [(("a",), {"quick": True}, "leave quick out"), ((), {"jobs": 0}, "jobs=0 is not"), (("b",), {}, "no row 'b'")],
)
def test_a_mistake_in_a_call_is_an_error_before_any_run(own, words, options, message):
    own(a={"verb": EPSILON, "metric": "epsilon"})
    with pytest.raises(ConfigError, match=message):
        fedlab.reproduce("kinds", *words, config_dir="own", **options)
    assert not pathlib.Path("reproductions").exists()
