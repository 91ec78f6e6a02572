"""The page of a run: whole, offline, and true to the folder, whatever state the run is in."""

from __future__ import annotations

import cProfile
import os
import pstats
import re
import shutil

import pytest

from fedlab.archive import columns
from fedlab.archive.clients import ModelScore, write_model_scores
from fedlab.cli.main import main
from fedlab.errors import FedlabError
from fedlab.report.page import write_report
from tests.report.conftest import png, read_page, records_of

ALWAYS = ["result", "data", "cost", "configuration", "environment"]


def test_an_ordinary_run(run):
    path = write_report(run())
    page = read_page(path)
    assert path.name == "report.html" and path.stat().st_size < 200_000
    assert page.sections == ["result", "curves", "clients", "data", "cost", "configuration", "environment"]
    for told in (
        "finished",
        "fedlab train +experiment=digits/fedavg",
        "91.00%",
        "766b6c0a503d, with changes",
        "learning_rate 0.1",
    ):
        assert told in page.text
    assert [link["href"] for link in page.all("a")] == [f"#{anchor}" for anchor in page.sections]
    pictures = [svg for svg in page.all("svg") if svg.get("role") == "img"]
    assert len(pictures) >= 6 and all(svg["aria-label"] for svg in pictures)


def test_nothing_comes_from_elsewhere(run):
    text = write_report(run(command="fedlab train data.dir=https://example.org/x")).read_text()
    fetched = re.findall(r"""(?:src|href|action|data)=["']?([^"'> ]+)""", text) + re.findall(r"url\(([^)]*)\)|@import", text)
    assert fetched and all(target.startswith(("#", "data:")) for target in fetched)
    assert "default-src 'none'" in text


def test_what_a_run_says_is_text_and_no_markup(run):
    evil = "<script>alert(1)</script>\"'&"
    path = run(
        config={"client_optimizer.note": evil, "model.very." + "long" * 30: "x" * 400},
        name=evil,
        command=evil,
        status="failed",
        failure=evil,
        records=[{**r, f"metric {evil}": r["round"] * 0.5} for r in records_of(3)],
    )
    page = read_page(write_report(path))
    assert len(page.all("script")) == 1 and page.text.count(evil) >= 5


@pytest.mark.parametrize("status", ["interrupted", "failed"])
def test_a_run_that_did_not_finish_tells_how_far_it_came(run, status):
    path = run(status=status, failure="the disk is full" if status == "failed" else None, num_rounds=40, records=records_of(14))
    page = read_page(write_report(path))
    assert f"{status} after 14 rounds of 40" in page.text and "after round 14" in page.text
    assert ("the disk is full" in page.text) == (status == "failed")
    assert "fedlab train resume=" in page.text and "clients" not in page.sections


def test_a_run_that_died_before_its_first_round(run):
    page = read_page(write_report(run(status="failed", failure="no memory", records=[], num_rounds=5, seconds={})))
    assert page.sections == ["result", "data", "configuration", "environment"] and "failed after 0 rounds of 5" in page.text


def test_a_killed_run_is_interrupted(run):
    page = read_page(write_report(run(status="running", ended=None, records=records_of(4), num_rounds=9, rounds_completed=0)))
    assert "interrupted after 4 rounds of 9" in page.text


@pytest.mark.parametrize(
    "records",
    [
        records_of(1),
        [{k: v for k, v in r.items() if not k.startswith("test_")} for r in records_of(5)],
        [{**r, "test_loss": None, "train_loss": None} for r in records_of(5)],
        [{k: v for k, v in r.items() if not k.startswith(("test_", "train_"))} for r in records_of(5)],
        [{**r, "norms": [1.0, None], "nested": {"a": 1}} for r in records_of(5)],
    ],
    ids=["one round", "no test metrics", "nulls", "no metrics", "lists"],
)
def test_odd_records(run, records):
    page = read_page(write_report(run(records=records)))
    assert set(ALWAYS) <= set(page.sections) and "nan" not in page.text.lower().split()


@pytest.mark.parametrize("rounds", [100, 10_000])
def test_a_long_run_stays_small(run, rounds):
    path = run(records=records_of(rounds), num_clients=1000, num_classes=62)
    profile = cProfile.Profile()
    written = profile.runcall(write_report, path)
    assert written.stat().st_size < 2_000_000
    assert pstats.Stats(profile).total_calls < 3_000_000  # about a second; calls depend neither on the processor nor on its load
    page = read_page(written)
    assert "1,000 clients" in page.text and "100 of 1,000, evenly spaced" in page.text


def test_other_metrics_get_curves_of_their_own_when_they_move(run):
    records = [{**r, "attack_success": 1 / r["round"], "always_the_same": 3} for r in records_of(6)]
    page = read_page(write_report(run(records=records)))
    assert "Attack success" in page.text and "lways the same" not in page.text


def test_privacy_is_told_where_there_is_an_account_of_it(run):
    records = [{**r, "epsilon": 0.1 * r["round"]} for r in records_of(8)]
    page = read_page(
        write_report(
            run(
                "private",
                records=records,
                privacy={"delta": 1e-5, "mechanism": "Tree", "unit": "user", "lines": ["nobody is told apart"]},
            )
        )
    )
    assert page.sections.index("privacy") == 2 and "0.8000 after round 8" in page.text and "unit user" in page.text
    assert "nobody is told apart." in page.text
    assert "privacy" not in read_page(write_report(run("open"))).sections


def test_replayable_masks_are_told(run):
    told = "anybody who knows the seed can remove every mask"
    assert told in read_page(write_report(run("seeded", config={"secure.reproducible": True}))).text
    assert told not in read_page(write_report(run("fresh", config={"secure.reproducible": False}))).text


def test_the_models_of_clients_are_shown(run):
    path = run()
    scores = [ModelScore(f"c{i}", 10 + i, 0.5, 0.75, None, 0.25 + i / 100) for i in range(30)]
    for number in (2, 4):
        write_model_scores(path / "client_models", number, scores, "accuracy")
    page = read_page(write_report(path))
    assert "client-models" in page.sections and "In round 4 these are the models of 30 clients" in page.text
    assert "evenly spaced clients" in page.text and "c29" in page.text and "54.00%" in page.text
    assert "no ε covers them" in page.text and "client-models" not in read_page(write_report(run("without"))).sections


def test_masks_between_pairs_are_told(run):
    told = "the server can compute the sum of each of 2 groups of clients"
    lines = {"lines": [f"secure.neighbors=[[0,1],[2,3]]: {told}", "secure.reproducible=true: told in words of its own"]}
    page = read_page(write_report(run("pairs", secure=lines)))
    assert told in page.text and "of pairs" in page.text and "words of its own" not in page.text
    arms = {name: {"privacy": None, "secure": lines} if name == "a" else {} for name in "ab"}
    page = read_page(write_report(run("arms", config={"arms.a.num_rounds": 1, "arms.b.num_rounds": 1}, arms=arms)))
    assert "masks of a" in page.text and "masks of b" not in page.text


def test_pictures_are_shown_with_captions_in_natural_order(run):
    path = run()
    for name in ("round_10.png", "round_9.png", "attack/client_3.png"):
        (path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (path / "images" / name).write_bytes(png(28, 14))
    (path / "images" / "broken.png").write_bytes(b"not a picture")
    page = read_page(write_report(path))
    shown = page.all("img")
    assert [i["alt"] for i in shown] == ["attack / client 3", "round 9", "round 10"]
    assert all(i["src"].startswith("data:image/png;base64,") and (i["width"], i["height"]) == ("28", "14") for i in shown)
    assert "images/broken.png" in page.text


def test_too_many_pictures_are_named_instead(run):
    path = run()
    (path / "images").mkdir()
    for i in range(4):
        (path / "images" / f"noise_{i}.png").write_bytes(png(8, 8) + os.urandom(400_000))
    written = write_report(path)
    page = read_page(written)
    assert len(page.all("img")) == 2 and "images/noise_3.png" in page.text and written.stat().st_size < 2_000_000


def test_of_many_clients_a_page_shows_distributions_and_no_single_client(run, monkeypatch):
    few = read_page(write_report(run("few", num_clients=40)))
    monkeypatch.setattr(columns, "MOST_ROWS", 39)
    path = run("many", num_clients=40, summary={"clients_sampled": 40})
    assert (path / "clients.npz").is_file() and (path / "partition.npz").is_file()
    page = read_page(write_report(path))
    assert page.sections == few.sections
    assert "The clients it serves worst" in few.text and "The clients it serves worst" not in page.text
    for told in ("Distribution over clients", "Examples per client", "Classes per client", "a random sample of 40 clients"):
        assert told in page.text and told not in few.text
    pictures = [svg["aria-label"] for svg in page.all("svg") if svg.get("role") == "img"]
    assert any(label.startswith("Examples per client of 40 clients: from ") for label in pictures)
    assert not any(label.startswith("Heat map") for label in pictures)


def test_an_older_run_without_counts_shows_its_picture(run):
    path = run()
    (path / "partition.csv").unlink()
    (path / "partition.png").write_bytes(png(100, 50))
    assert [i["alt"][:8] for i in read_page(write_report(path)).all("img")] == ["Heat map"]


def test_a_resumed_run_says_so(run):
    again = {"time": "2026-11-23T19:00:00+00:00", "command": "fedlab train resume=x", "from_round": 7}
    assert "from round 7, 2026-11-23 19:00 UTC" in read_page(write_report(run(resumed=[again]))).text


def test_writing_it_again_replaces_it(run):
    path = run()
    first = write_report(path).read_bytes()
    (path / "report.html").write_text("old")
    assert len(write_report(path).read_bytes()) == len(first) and not list(path.glob(".partial*"))


class TestVerb:
    def test_it_says_where_the_page_is(self, run, capsys, tmp_path, monkeypatch):
        run("a")
        monkeypatch.chdir(tmp_path)
        assert main(["report", "a"]) == 0 and capsys.readouterr().out == "report: a/report.html\n"
        assert main(["report", "a", "--output", "b.html"]) == 0 and read_page(tmp_path / "b.html").sections

    @pytest.mark.parametrize(
        ("spoil", "code", "message"),
        [
            (shutil.rmtree, 1, "no such run"),
            (lambda path: (path / "manifest.json").write_text("{"), 1, "manifest.json is damaged"),
            (lambda path: (path / "manifest.json").write_text("{}"), 1, "is not a manifest of a run"),
            (
                lambda path: (path / "clients.csv").write_text("client,examples,accuracy,loss\n1,x,y,z\n"),
                1,
                "clients.csv is damaged",
            ),
            (
                lambda path: write_model_scores(path / "client_models", 2, [ModelScore("1", "x", 1, 1, 1, 1)], "accuracy"),
                1,
                "round_000002.csv is damaged",
            ),
            (lambda path: (path / "report.html").mkdir(), 1, "cannot write"),
        ],
        ids=["gone", "cut off", "another", "clients", "client models", "unwritable"],
    )
    def test_errors_take_one_line(self, run, capsys, spoil, code, message):
        path = run()
        spoil(path)
        assert main(["report", str(path)]) == code
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1 and "report" in error

    @pytest.mark.parametrize(("output", "message"), [("nowhere/x.html", "there is no folder nowhere"), (".", "is a folder")])
    def test_an_impossible_output_is_a_mistake_in_the_command(self, run, capsys, tmp_path, monkeypatch, output, message):
        path = run()
        monkeypatch.chdir(tmp_path)
        assert main(["report", str(path), "-o", output]) == 2 and message in capsys.readouterr().err


def test_a_missing_run_raises(tmp_path):
    with pytest.raises(FedlabError, match="no such run"):
        write_report(tmp_path / "nothing")
