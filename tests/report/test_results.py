"""Tables for papers: means and deviations of what the runs hold, the best, and a test that says when it cannot be made."""

from __future__ import annotations

import csv
import io
import pathlib
import re
import shutil
import statistics

import numpy as np
import pytest
import scipy.stats

import fedlab
from fedlab.cli.main import main
from fedlab.errors import ConfigError, FedlabError
from fedlab.report.comparison import gather
from fedlab.report.results import Cell, Missing, results
from fedlab.report.results_text import as_csv, as_latex, as_markdown, escaped
from fedlab.report.significance import ALPHA, CONSTANT, TOO_FEW, holm, paired
from fedlab.targets import rounds_to
from tests.report.conftest import records_of, write_run

RATE = "client_optimizer.learning_rate"
ACCURACIES = {0.1: (0.80, 0.82, 0.81, 0.84), 0.3: (0.95, 0.96, 0.97, 0.95), 0.9: (0.94, 0.97, 0.95, 0.96)}


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """Three learning rates with four seeds each: 0.3 is best, 0.9 hardly worse. No test writes into it."""
    folder = tmp_path_factory.mktemp("results") / "sweep"
    for rate, accuracies in ACCURACIES.items():
        for seed, accuracy in enumerate(accuracies):
            summary = {"test_accuracy": accuracy, "bytes_up_total": 2_500_000 * (seed + 1)}
            write_run(folder / f"{rate}-{seed}", {RATE: rate, "seed": seed}, summary=summary)
    return folder


@pytest.fixture
def own_sweep(sweep, tmp_path):
    """A copy of it."""
    return pathlib.Path(shutil.copytree(sweep, tmp_path / "sweep"))


def table_of(*folders, **options):
    return results(gather(folders)[0], **options)


class TestSignificance:
    @pytest.mark.parametrize("seed", range(5))
    def test_p_is_that_of_the_paired_t_test_over_the_seeds_of_both(self, seed):
        rng = np.random.default_rng(seed)
        a, b = rng.normal(size=6), rng.normal(size=6) + 0.3
        p, _ = paired(dict(enumerate(a)), {**dict(enumerate(b)), 99: 5.0})
        assert p == pytest.approx(scipy.stats.ttest_rel(a, b).pvalue) and paired(dict(enumerate(b)), dict(enumerate(a)))[0] == p

    def test_what_cannot_be_tested_has_a_reason_instead_of_a_p(self):
        assert paired({0: 1.0, 1: 2.0, 2: 4.0}, {1: 0.5, 2: 0.7, 3: 0.9}) == (None, TOO_FEW)
        shifted = {0: 0.9, 1: 0.7, 2: 0.8}
        assert paired(shifted, {seed: value - 0.1 for seed, value in shifted.items()}) == (None, CONSTANT)
        assert paired(shifted, shifted) == (1.0, "")

    def test_holm_corrects_as_published(self):
        assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
        assert holm([0.5, 0.6]) == [1.0, 1.0] and holm([0.2]) == [0.2] and holm([]) == []

    def test_equal_groups_are_rarely_called_different(self):
        """In 400 tables of four equal groups with five seeds, at most ALPHA of them, and 4.6 standard errors, name a pair."""
        rng, wrong = np.random.default_rng(0), 0
        for _ in range(400):
            groups = [dict(enumerate(values)) for values in rng.normal(size=(4, 5))]
            p_values = [paired(groups[i], groups[j])[0] for i in range(4) for j in range(i)]
            wrong += min(holm([p for p in p_values if p is not None])) < ALPHA
        assert wrong / 400 <= ALPHA + 4.6 * (ALPHA * (1 - ALPHA) / 400) ** 0.5


class TestTable:
    def test_means_deviations_the_best_and_the_test(self, sweep):
        found = table_of(sweep)
        assert found.names == ("learning rate",) and [row.settings for row in found.rows] == [("0.1",), ("0.3",), ("0.9",)]
        assert found.metrics == ("test_accuracy", "test_loss") and found.keys == (RATE,)
        cells = [row.cells[0] for row in found.rows]
        for cell, accuracies in zip(cells, ACCURACIES.values()):
            assert (cell.mean, cell.deviation, cell.count) == (
                pytest.approx(statistics.fmean(accuracies)),
                pytest.approx(statistics.stdev(accuracies)),
                4,
            )
        assert [cell.test for cell in cells] == ["significant", "best", "not significant"]
        pairs = [(0, 1), (0, 2), (1, 2)]
        raw = [scipy.stats.ttest_rel(*(list(ACCURACIES.values())[i] for i in pair)).pvalue for pair in pairs]
        assert (cells[0].p, cells[2].p) == (pytest.approx(holm(raw)[0]), pytest.approx(holm(raw)[2])) and cells[1].p is None
        assert any("two-sided paired t-test over equal seeds, Holm's correction" in note for note in found.notes)

    def test_two_seeds_are_too_few(self, sweep):
        found = table_of(*(sweep / f"{rate}-{seed}" for rate in ACCURACIES for seed in (1, 2)))
        assert [row.cells[0].test for row in found.rows] == [TOO_FEW, "best", TOO_FEW]
        assert "Too few seeds for a test of significance: it needs 3 seeds that both rows have." in found.notes
        assert not re.search(r"dagger|\^\{\*\}", as_latex(found))

    def test_a_row_with_fewer_seeds_says_so(self, sweep):
        found = table_of(sweep / "0.1-0", *(sweep / f"{rate}-{seed}" for rate in (0.3, 0.9) for seed in range(4)))
        assert [row.cells[0].test for row in found.rows] == [TOO_FEW, "best", "not significant"] and found.counts == {1, 4}
        assert "†: not tested: too few seeds (fewer than 3 that both rows have)." in found.notes
        latex = as_latex(found)
        assert "learning rate & n & test accuracy" in latex and "0.1 & 1 & $80.00$\\rlap{$^{\\dagger}$}" in latex

    def test_less_is_better_for_losses_bytes_and_rounds_to_a_target(self, tmp_path):
        for rate, ceiling in ((0.1, 0.9), (0.3, 0.97)):
            for seed in range(3):
                shifted = [{**r, "test_loss": r["test_loss"] * (rate + seed)} for r in records_of(20, ceiling - 0.01 * seed)]
                summary = {"bytes_up_total": rate * 1e6}
                write_run(tmp_path / f"{rate}-{seed}", {RATE: rate, "seed": seed}, shifted, summary=summary)
        found = table_of(tmp_path, metrics=["test_loss", "bytes_up_total", "rounds_to[.9]", "bytes_to[0.8]"])
        assert [cell.test for cell in found.rows[0].cells[:2]] == ["best", "best"]
        assert found.metrics[2:] == ("rounds_to[0.9]", "bytes_to[0.8]") and found.quantities[3].unit == "MB"
        rounds = [
            [rounds_to([(r["round"], r["test_accuracy"]) for r in records_of(20, c - 0.01 * i)], 0.8) for i in range(3)]
            for c in (0.9, 0.97)
        ]
        in_round = records_of(1)[0]["bytes_up"] + records_of(1)[0]["bytes_down"]
        for row, each in zip(found.rows, rounds):
            assert row.cells[3].mean == pytest.approx(statistics.fmean(each) * in_round)
        assert found.rows[1].cells[3].test == "best"
        assert found.rows[0].cells[2] == Missing("not reached by 3 of 3") and found.rows[1].cells[2].test == "best"
        assert found.rows[1].cells[1].test == CONSTANT  # bytes do not vary over seeds

    def test_a_mean_does_not_hide_a_run_that_diverged(self, tmp_path):
        for rate, losses in {0.1: (0.5, 0.6, 0.7), 0.9: (0.1, None, 0.2)}.items():
            for seed, loss in enumerate(losses):
                summary = {"test_accuracy": 0.9 - rate / 2 - seed / 100, "test_loss": loss}
                write_run(tmp_path / f"{rate}-{seed}", {RATE: rate, "seed": seed}, summary=summary)
        good, bad = (row.cells[1] for row in table_of(tmp_path).rows)
        assert isinstance(good, Cell) and (good.mean, good.test) == (pytest.approx(0.6), "")
        assert bad == Missing("missing in 1 of 3")

    def test_equal_means_have_no_best(self, sweep):
        found = table_of(sweep, metrics=["bytes_up_total"])
        assert {row.cells[0].test for row in found.rows} == {""} and "mathbf" not in as_latex(found)

    def test_epsilon_has_no_best_is_rounded_up_and_may_be_infinite(self, tmp_path):
        for name, spent in (("a", 2.00001), ("b", "inf")):
            write_run(tmp_path / name, {"name_of": name}, summary={"epsilon": spent, "delta": 1e-5})
        found = table_of(tmp_path, metrics=["epsilon"])
        assert [cell.text if isinstance(cell, Missing) else cell.test for row in found.rows for cell in row.cells] == ["", "∞"]
        assert "$2.001$" in as_latex(found) and "$\\infty$" in as_latex(found)

    def test_runs_that_have_not_finished_are_left_out_and_named(self, own_sweep, tmp_path, capsys):
        write_run(own_sweep / "late", {RATE: 0.3, "seed": 9}, status="failed", failure="x", num_rounds=20)
        found = table_of(own_sweep)
        assert [len(row.seeds) for row in found.rows] == [4, 4, 4]
        assert main(["compare", str(own_sweep), "--csv", str(tmp_path / "t.csv")]) == 0
        (sentence,) = found.left_out
        assert re.fullmatch(r"Left out of tables: .*late failed after 10 of 20 rounds\.", sentence)
        assert f"note: {sentence}" in capsys.readouterr().out and f"% {sentence}" in as_latex(found)
        with pytest.raises(FedlabError, match="no run has finished"):
            results(gather([own_sweep / "late"], 1)[0])

    def test_a_seed_that_occurs_twice_is_no_pair(self, own_sweep):
        write_run(own_sweep / "again", {RATE: 0.3, "seed": 0, "logger": {"x": 1}}, summary={"test_accuracy": 0.95})
        found = table_of(own_sweep)
        assert found.rows[1].seeds.count(0) == 2 and any("same seed" in remark for remark in found.remarks)
        slow, best, fast = ACCURACIES.values()
        raw = [scipy.stats.ttest_rel(*pair).pvalue for pair in ((slow[1:], best[1:]), (slow, fast), (best[1:], fast[1:]))]
        assert found.rows[1].cells[0].test == "best" and found.rows[0].cells[0].p == pytest.approx(holm(raw)[0])

    def test_an_unknown_metric_names_one_that_is_near(self, sweep):
        with pytest.raises(ConfigError, match=r"no finished run has a metric test_acuracy\. Did you mean 'test_accuracy'\?"):
            table_of(sweep, metrics=["test_acuracy"])


def cells_of(line):
    """The cells of a row of LaTeX, between ampersands that are not escaped."""
    return [cell.strip() for cell in re.split(r"(?<!\\)&", line.removesuffix("\\\\"))]


class TestText:
    def test_latex_has_the_rules_of_booktabs_and_a_cell_per_column(self, sweep):
        text = as_latex(table_of(sweep, metrics=["test_accuracy", "bytes_up_total"]))
        lines = text.splitlines()
        assert lines[1] == "\\begin{tabular}{lrr}" and lines[2] == "\\toprule" and "\\bottomrule" in lines
        rows = [cells_of(line) for line in lines if line.endswith("\\\\")]
        assert rows[0] == ["learning rate", "test accuracy (\\%) $\\uparrow$", "total sent up (MB) $\\downarrow$"]
        assert rows[1][1] == "$81.75 \\pm 1.71$\\rlap{$^{*}$}" and rows[2][1] == "$\\mathbf{95.75 \\pm 0.96}$"
        assert {len(row) for row in rows} == {3}
        assert text.count("{") - text.count("\\{") == text.count("}") - text.count("\\}")
        assert text.count("\\begin{") == text.count("\\end{") == 1

    @pytest.mark.parametrize(
        ("text", "latex"),
        [
            ("max_examples 50% of #1 & $2", "max\\_examples 50\\% of \\#1 \\& \\$2"),
            ("a\\b{c}~^", "a\\textbackslash{}b\\{c\\}\\textasciitilde{}\\textasciicircum{}"),
            ("[128, 64]", "{}[128, 64]"),
            ("χ² test", "$\\chi$$^{2}$ test"),
            ("ε ≤ 2 × 10⁻⁵ – ∞", "$\\varepsilon$ $\\leq$ 2 $\\times$ $10^{-5}$ -- $\\infty$"),
        ],
    )
    def test_signs_are_escaped(self, text, latex):
        assert escaped(text) == latex

    def test_csv_has_a_row_per_group_and_metric(self, sweep):
        rows = list(csv.DictReader(io.StringIO(as_csv(table_of(sweep)))))
        assert len(rows) == 6 and rows[0]["seeds"] == "0 1 2 3" and rows[0][RATE] == "0.1"
        first = rows[2]
        assert (first["metric"], first["test"], first["p"]) == ("test_accuracy", "best", "") and first["n"] == "4"
        assert float(first["mean"]) == statistics.fmean(ACCURACIES[0.3]) and float(first["std"]) == statistics.stdev(
            ACCURACIES[0.3]
        )

    def test_markdown_is_a_table_whose_signs_have_no_meaning(self, sweep):
        text = as_markdown(table_of(sweep))
        lines = text.splitlines()
        assert lines[0].startswith("| learning rate | test accuracy (%) ↑ |") and lines[1] == "| --- | --: | --: |"
        assert "| 0.3 | **95.75 ± 0.96** |" in text and "| 81.75 ± 1.71 \\* |" in text and "\\*: differs from the best" in text

    def test_large_and_small_numbers_have_a_power_of_ten_for_the_column(self, tmp_path):
        for i, norm in enumerate((2.5e-6, 1.25e-5)):
            write_run(tmp_path / str(i), {RATE: 0.1 * (i + 1)}, summary={"server_norm": norm, "num_things": 1234567.0})
        text = as_latex(table_of(tmp_path, metrics=["server_norm", "num_things"]))
        assert "server norm ($10^{-5}$) &" in text and "& $0.250$ &" in text and "num things ($10^{6}$)" in text


class TestVerb:
    def test_three_files_that_are_the_same_each_time(self, sweep, tmp_path, capsys):
        contents = []
        for folder in ("one", "two"):
            (tmp_path / folder).mkdir()
            files = {kind: tmp_path / folder / f"t.{kind}" for kind in ("csv", "latex", "markdown")}
            options = [word for kind, path in files.items() for word in (f"--{kind}", str(path))]
            assert main(["compare", str(sweep), *options, "--metric", "test_accuracy"]) == 0
            contents.append([path.read_bytes() for path in files.values()])
        assert contents[0] == contents[1] and all(contents[0]) and "table in " in capsys.readouterr().out
        assert contents[0][1].decode() == fedlab.compare(sweep).latex("test_accuracy")
        assert contents[0][0].decode() == fedlab.compare(sweep).csv(["test_accuracy"])
        assert "rounds to 80" in fedlab.compare(sweep, rounds_to=[0.8]).markdown()

    @pytest.mark.parametrize(
        ("options", "line"),
        [
            (["--latex", "."], "--latex . is a folder: name a file in it, such as table.tex."),
            (["--markdown", "gone/t.md"], "--markdown gone/t.md: there is no folder gone."),
            (["--csv", "t.csv", "--metric", "x"], "no finished run has a metric x."),
            (["--csv", "t.x", "--latex", "t.x"], "--markdown write a file each: name different files."),
            (["--metric", "test_loss"], "--metric chooses the columns of --csv, --latex and --markdown: name one of these."),
        ],
    )
    def test_a_mistake_is_one_line_and_exit_code_2(self, sweep, capsys, monkeypatch, options, line):
        monkeypatch.chdir(sweep.parent)
        assert main(["compare", "sweep", *options]) == 2
        assert line in capsys.readouterr().err
        assert not list(sweep.parent.glob("t.*"))

    def test_cells_are_data(self, sweep):
        assert all(isinstance(cell, Cell) for row in table_of(sweep).rows for cell in row.cells)
