"""Several trainings on the same people: pages that show an ε say that it covers one of them, and what all of them cost."""

from __future__ import annotations

import json
import math

import pytest

from fedlab.archive import read_run
from fedlab.archive.claims import together
from fedlab.cli.main import main
from fedlab.composition import ALONE, EACH_ALONE, FILTERED, REPLAYABLE, Claim, added_up
from fedlab.report.comparison import compare, gather
from fedlab.report.comparison_page import write_comparison
from fedlab.report.page import write_report
from fedlab.studies.sweep.page import write_sweep_report
from tests.report.conftest import read_page, records_of
from tests.studies.sweep.test_sweep_page import write_sweep

USER = {"mechanism": "GaussianFixed", "unit": "user", "delta": 1e-5, "noise": "noise.key", "lines": ["a promise"]}
SUM = "taking part in all 2 trainings costs ε = 3.200 at δ = 3e-05, their sums (basic composition)"


def spending(total, delta=1e-5, rounds=4):
    return [{**r, "epsilon": total * r["round"] / rounds, "delta": delta} for r in records_of(rounds)]


@pytest.fixture
def two(run):
    """Runs of ε = 1.2 and 2 at δ = 1e-5 and 2e-5, the second of which was interrupted."""
    done = run("a", records=spending(1.2), privacy=USER, summary={"epsilon": 1.2, "delta": 1e-5})
    return [done, run("b", records=spending(2.0, 2e-5), privacy=USER, status="interrupted", config={"cohort.sampling_rate": 0.1})]


@pytest.mark.parametrize(
    ("claims", "says"),
    [
        ([], None),
        ([Claim(1.0, 1e-5, "user")], None),
        ([Claim(None), Claim(None)], None),
        ([Claim(1.0, 1e-5, "user"), Claim(0.5, 1e-6, "user")], "all 2 trainings costs ε = 1.500 at δ = 1.1e-05,"),
        ([Claim(1.00001, 1e-5, "user"), Claim(1.0, 1e-5, "user")], "ε = 2.001"),  # never smaller than it is
        ([Claim(1.0, 1e-5, "user"), Claim(None)], "all 2 trainings has no guarantee, because 1 of them gives none"),
        ([Claim(1.0, 1e-5, "user"), Claim(math.inf, 1e-5, "user"), Claim(None)], "because 2 of them give none"),
        ([Claim(1.0, 1e-5, "user"), Claim(1.0, 1e-5, "example")], "cannot be added up"),
        ([Claim(1.0, 1e-5, "user"), Claim(1.0, 1e-5, "user", simulated=True)], "cannot be added up"),
        ([Claim(1.0, 1e-5, "user", simulated=True)] * 2, "(simulated), their sums"),
        ([Claim(1.0, 1e-5, "user", noise_seed=s) for s in (0, 1)], f"(basic composition); {REPLAYABLE}"),
        ([Claim(1.0, 1e-5, "user"), Claim(0.5, 1e-5, "user", noise_seed=0)], "ε = 1.500 at δ = 2e-05, their sums"),
        (
            [Claim(1.0, 1e-5, "user", noise_seed=0)] * 2,
            "cannot be added up, because trainings of one seed with noise_source=seed",
        ),
        ([Claim(1.0, 1e-5, "user", noise_seed=0), Claim(None)], REPLAYABLE),
        ([Claim(1.0, 1e-5, "user"), Claim(1.0, 1e-5, "user", filtered=True)], f"their sums (basic composition); {FILTERED}"),
        ([Claim(1.0, 1e-5, "user", noise_seed=0, filtered=True), Claim(None)], f"gives none; {FILTERED}; {REPLAYABLE}"),
    ],
)
def test_sums(claims, says):
    found = added_up(claims)
    assert found is None if says is None else says in found and found.startswith(EACH_ALONE)


def test_what_was_spent_counts_whether_or_not_a_run_has_ended(two, run):
    runs = [read_run(path) for path in two]
    assert together(runs).endswith(SUM)
    begun = read_run(run("c", records=[], privacy=USER, status="failed"))  # has released nothing
    assert together([*runs, begun]) == together(runs)


def test_a_page_says_that_its_figure_covers_one_training(two):
    page = read_page(write_report(two[0]))
    assert f"{ALONE}." in page.text and "1.200 of this training alone" in page.text and SUM not in page.text


@pytest.mark.parametrize(
    "account", [{**USER, "noise": REPLAYABLE}, {k: v for k, v in USER.items() if k != "noise"}], ids=["now", "older"]
)
def test_every_reader_says_that_noise_of_the_seed_can_be_replayed(run, capsys, account):
    """An older fedlab drew all noise from the seed, and its manifests do not say from what."""
    path = run("a", records=spending(1.2), privacy=account, summary={"epsilon": 1.2, "delta": 1e-5})
    page = read_page(write_report(path))
    assert f"of this training alone; {REPLAYABLE}" in page.text and page.text.count(REPLAYABLE) >= 2
    assert REPLAYABLE in together([read_run(path), read_run(path)])
    assert main(["runs", str(path.parent)]) == 0
    out, err = capsys.readouterr()
    assert "1.200 (replayable)" in out and REPLAYABLE in err


def test_arms_are_added_up_on_their_page(run):
    arms = {"arms": {"a": {}, "b": {}}}
    figures = [{"a/epsilon": 1.2, "a/delta": 1e-5, "b/epsilon": 2.0, "b/delta": 2e-5}]
    records = [{**r, **figures[0]} for r in records_of(4)]
    account = {"arms": {"a": {"privacy": USER}, "b": {"privacy": USER}}}
    page = read_page(write_report(run("armed", config=arms, records=records, summary=figures[0], **account)))
    assert page.text.count(SUM) == 2 == page.text.count(f"{ALONE}.")


def test_comparisons_add_up(two, tmp_path, capsys):
    runs, _ = gather(two)
    page = read_page(write_comparison(compare(runs), tmp_path / "page.html"))
    assert SUM in page.text and "Each ε covers one training alone" in page.text
    assert main(["compare", *map(str, two)]) == 0
    assert f"{SUM}." in capsys.readouterr().out


def test_a_sum_over_a_run_with_a_filter_says_what_it_does_not_cover(two, run, tmp_path):
    def of(name, **chosen):
        return run(name, records=spending(1.0), privacy=USER, summary={"epsilon": 1.0, "delta": 1e-5}, config={"filter": chosen})

    filtered, kept = of("filtered", _target_="fedlab.filter.Users", path="kept.csv"), of("all", _target_="fedlab.filter.NoFilter")
    assert "their sums (basic composition)" in together([read_run(two[0]), read_run(kept)])
    assert FILTERED not in together([read_run(two[0]), read_run(kept)])
    assert together([read_run(two[0]), read_run(filtered)]).endswith(f"their sums (basic composition); {FILTERED}")
    runs, _ = gather([two[0], filtered])
    assert FILTERED in read_page(write_comparison(compare(runs), tmp_path / "page.html")).text


def test_sweeps_add_up(tmp_path):
    sweep = write_sweep(tmp_path / "s", jobs=3)
    for i, folder in enumerate(sorted(p for p in sweep.iterdir() if p.is_dir())):
        manifest = json.loads((folder / "manifest.json").read_text())
        (folder / "manifest.json").write_text(json.dumps({**manifest, "privacy": USER}))
        (folder / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in spending(1.0, rounds=6)))
        if i < 2:
            summary = json.loads((folder / "summary.json").read_text())
            (folder / "summary.json").write_text(json.dumps({**summary, "epsilon": 1.0, "delta": 1e-5}))
    page = read_page(write_sweep_report(sweep))
    assert "taking part in all 3 trainings costs ε = 3 at δ = 3e-05, their sums" in page.text


def test_lists_say_so(two, tmp_path, capsys):
    assert main(["runs", str(tmp_path)]) == 0
    command = ["privacy", "--population", "100", "--cohort", "10", "--rounds", "3"]
    assert f"{EACH_ALONE}.\n" in capsys.readouterr().err
    assert main([*command, "--noise", "2"]) == 0
    assert ALONE in capsys.readouterr().out
    assert main([*command, "--noise", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["covers"] == ALONE
