"""Comparisons: differences are found, seeds are averaged, and what cannot be compared is said in a line."""

from __future__ import annotations

import statistics

import pytest

from fedlab.archive import read_run
from fedlab.cli.main import main
from fedlab.errors import ConfigError, FedlabError
from fedlab.report import words
from fedlab.report.comparison import compare, difference_rows, gather
from fedlab.report.comparison_page import averaged
from tests.report.conftest import read_page, records_of

ADAM = {"client_optimizer": {"_target_": "fedlab.algorithms.optimizers.Adam", "learning_rate": 0.001, "beta_1": 0.9}}


def test_runs_that_differ_in_their_seed_alone_are_one(run):
    accuracies = [0.90, 0.92, 0.97]
    paths = [run(f"s{i}", config={"seed": i}, summary={"test_accuracy": a}) for i, a in enumerate(accuracies)]
    other = run("other", config={"client_optimizer.learning_rate": 0.02}, summary={"test_accuracy": 0.5})
    found = compare([read_run(p) for p in [*paths, other]])
    assert [group.seeds for group in found.groups] == [[0, 1, 2], [0]]
    spread = found.groups[0].metrics["test_accuracy"]
    assert (spread.mean, spread.deviation, spread.count) == (
        pytest.approx(statistics.fmean(accuracies)),
        pytest.approx(statistics.stdev(accuracies)),
        3,
    )
    assert spread.text("test_accuracy") == "93.00% ± 3.61%"
    assert found.groups[1].metrics["test_accuracy"].text("test_accuracy") == "50.00%"
    assert found.keys == ("client_optimizer.learning_rate",) and found.groups[1].label == "client_optimizer.learning_rate 0.02"


def test_logging_and_checkpoints_make_no_difference_and_rounds_do(run):
    a, b = run("a"), run("b", config={"logger": {"mlflow": {"tracking_uri": "x"}}, "checkpoint": {"every": 3}})
    c = run("c", records=records_of(20))
    assert len(compare([read_run(a), read_run(b)]).groups) == 1
    assert compare([read_run(a), read_run(c)]).keys == ("num_rounds",)


def test_an_option_that_an_earlier_version_did_not_have_makes_no_difference(run):
    model = {"_target_": "fedlab.models.Mlp", "hidden": [4]}
    then = run("then", config={"model": model})
    now = run("now", config={"seed": 1, "model": {**model, "mean": 0.0, "std": 1.0}})
    other = run("other", config={"model": {**model, "mean": 0.5, "std": 1.0}})
    found = compare([read_run(path) for path in (then, now, other)])
    assert [group.seeds for group in found.groups] == [[0, 1], [0]] and found.keys == ("model.mean",)
    assert [group.settings["model.mean"] for group in found.groups] == [0.0, 0.5]


def test_a_legend_names_the_class_and_not_all_that_comes_with_it(run):
    runs = [run("a"), run("b", config={"client_optimizer.learning_rate": 0.5}), run("c", config=ADAM)]
    found = compare([read_run(path) for path in runs])
    labels = [group.label for group in found.groups]
    assert labels[2] == "client_optimizer Adam" and "learning_rate 0.5" in labels[1] and len(set(labels)) == 3
    rows = dict(difference_rows(found))
    assert rows["client_optimizer"] == ["Sgd", "Sgd", "Adam"] and rows["client_optimizer.beta_1"] == ["–", "–", "0.9"]


def test_arms_go_by_their_names_and_are_no_repetitions_of_each_other(run):
    arms = {"arms": {"left": {}, "right": {}}}
    found = compare(
        read_run(run("armed", config=arms, summary={"left/test_accuracy": 0.5, "right/test_accuracy": 0.75})).each_arm()
    )
    assert found.keys == ("arm",) and [group.label for group in found.groups] == ["arm left", "arm right"]
    assert [group.metrics["test_accuracy"].mean for group in found.groups] == [0.5, 0.75]


def test_arms_that_ended_early_are_remarked_as_one_run(run):
    summary = {"left/test_accuracy": 0.5, "right/test_accuracy": 0.75, "stopped": "stop.patience=2: no better"}
    arms = read_run(run("armed", config={"arms": {"left": {}, "right": {}}}, summary=summary)).each_arm()
    assert any(remark.startswith("1 run ended early") for remark in compare(arms).remarks)


def test_means_need_a_value_of_every_run():
    means, band = averaged([[(1, 1.0), (2, 2.0), (3, None)], [(1, 3.0), (2, 2.0), (3, 1.0), (4, 9.0)]])
    assert means == [(1, 2.0), (2, 2.0), (3, None)]
    assert band == [(1, pytest.approx(2 - 2**0.5), pytest.approx(2 + 2**0.5)), (2, 2.0, 2.0)]


def test_what_spoils_a_comparison_is_remarked(run):
    one = run("a"), run("b", data={"name": "digits", "fingerprint": "other"})
    assert any("fingerprints differ" in remark for remark in compare([read_run(p) for p in one]).remarks)
    assert any("same seed" in remark for remark in compare([read_run(p) for p in one]).remarks)
    late = run("late", status="failed", failure="x", num_rounds=20)
    found = compare([read_run(one[0]), read_run(late)])
    assert any("failed after 10 of 20 rounds" in remark for remark in found.remarks)
    assert found.groups[1].metrics["test_accuracy"].mean == pytest.approx(0.91)


class TestGather:
    def test_a_folder_stands_for_the_runs_below_it(self, run, tmp_path):
        run("sweep/0"), run("sweep/1"), run("alone")
        (tmp_path / "sweep" / "2").mkdir()
        (tmp_path / "sweep" / "2" / "manifest.json").write_text("{")
        runs, broken = gather([tmp_path / "sweep", tmp_path / "alone", tmp_path / "sweep" / "0"])
        assert [r.path.name for r in runs] == ["0", "1", "alone"] and len(broken) == 1 and "damaged" in str(broken[0])

    def test_fewer_than_two_are_no_comparison(self, run, tmp_path):
        path = run("only")
        with pytest.raises(ConfigError, match="1 run given: name two or more"):
            gather([path, path])
        (tmp_path / "empty").mkdir()
        with pytest.raises(FedlabError, match="no run below it"):
            gather([tmp_path / "empty", path])
        with pytest.raises(FedlabError, match="does not exist"):
            gather([tmp_path / "gone", path])


class TestVerb:
    def test_plain_tables_and_a_page(self, run, capsys, tmp_path):
        paths = [str(run("a")), str(run("b", config={"seed": 1})), str(run("<c>", config=ADAM))]
        assert main(["compare", *paths, "--html", str(tmp_path / "c.html")]) == 0
        out = capsys.readouterr().out
        assert "client_optimizer" in out and "91.00% ± 0.00%" in out and "\x1b" not in out and "│" not in out
        page = read_page(tmp_path / "c.html")
        assert page.sections == ["differences", "curves", "figures", "runs"] and "1: client_optimizer Sgd" in page.text
        assert "<c>" in page.text and "91.00% ± 0.00%" in page.text

    def test_many_groups_are_rows(self, run, capsys):
        paths = [str(run(f"r{i}", config={"client_optimizer.learning_rate": i / 10})) for i in range(1, 7)]
        assert main(["compare", *paths]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 9 and "client_optimizer.learning_rate" in lines[1] and lines[4].split()[:3] == ["3", "0.3", "1"]

    def test_nothing_is_left_out_without_a_word(self, run, capsys):
        """Whatever differs or was measured is in the output, or its name stands in a line that says how to see it."""
        summary = {f"measured_{i}": float(i) for i in range(9)}
        changes = [ADAM, *({"client_optimizer.learning_rate": i / 10} for i in range(1, 6))]
        paths = [str(run(f"r{i}", config=config, summary=summary)) for i, config in enumerate(changes)]
        comparison = compare(gather(paths)[0])
        names = [words.metric_label(name) for name in comparison.metrics] + [key for key, _ in difference_rows(comparison)]
        assert main(["compare", *paths]) == 0
        out = capsys.readouterr().out
        assert all(name in out for name in names) and "fedlab compare --all shows everything" in out
        assert main(["compare", "--all", *paths]) == 0
        out = capsys.readouterr().out
        assert all(out.count(f"\n{name} ") == 2 for name in names) and "left out" not in out  # in two tables of columns
        assert [line[:2] for line in out.splitlines()[:6]] == [f"{i}:" for i in range(1, 7)]
        assert out.splitlines()[0] == f"1: {comparison.groups[0].label}"  # which names the columns

    def test_an_epsilon_that_says_the_same_is_told_once(self, run, tmp_path, capsys):
        summary = {"epsilon": 2.0, "epsilon_rdp": 3.0, "epsilon_pld": 2.0, "delta": 1e-5}
        paths = [str(run("a", summary=summary)), str(run("b", config=ADAM))]
        assert main(["compare", *paths, "--html", str(tmp_path / "c.html")]) == 0
        for text in (capsys.readouterr().out, read_page(tmp_path / "c.html").text):
            assert "ε by RDP" in text and "PLD" not in text

    def test_only_seeds(self, run, capsys):
        assert main(["compare", str(run("a")), str(run("b", config={"seed": 7}))]) == 0
        assert "Nothing differs but the seed: 0, 7." in capsys.readouterr().out

    def test_errors_take_one_line(self, run, capsys):
        path = str(run())
        assert main(["compare", path]) == 2 and capsys.readouterr().err.count("\n") == 1
        assert main(["compare", path, path + "x"]) == 1 and "does not exist" in capsys.readouterr().err


_OBEYED = "\x1b[2J"  # clears a terminal


@pytest.mark.parametrize(
    "options",
    [
        {"config": {"process": {"_target_": _OBEYED}}},
        {"config": {"mine": {_OBEYED: 3}}},
        {"config": {"arms": {_OBEYED: {}}}, "summary": {f"{_OBEYED}/test_accuracy": 0.75}},
    ],
    ids=["value", "option", "arm"],
)
def test_a_terminal_obeys_no_name_in_a_run_of_other_people(options, run, capsys):
    paths = [str(run("own")), str(run("sent", **options))]
    for verb in (["compare"], ["compare", "--all"], ["runs"]):
        assert main([*verb, *paths]) == 0
        said = capsys.readouterr()
        assert "\x1b" not in said.out + said.err
        assert verb == ["runs"] or "\\x1b[2J" in said.out
