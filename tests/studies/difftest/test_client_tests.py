"""The verdict: equal models, different ones, too few examples, and who is named."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pydantic
import pytest

from fedlab.errors import DataError, FedlabError
from fedlab.studies.difftest.client_tests import ClientOutputs, compare, sampled_scores
from fedlab.studies.difftest.options import Difftest
from fedlab.studies.difftest.record import ALL, DifftestFile, read_differences, read_scores, write_differences, write_scores
from fedlab.studies.difftest.section import difftest_section
from fedlab.studies.difftest.table import print_clients
from fedlab.studies.difftest.verdict import Differences, latest

SPEC = Difftest(bootstrap=200)


def softmax(logits):
    e = np.exp(logits - logits.max(1, keepdims=True))
    return (e / e.sum(1, keepdims=True)).astype(np.float32)


def client(name, n, rng, noise_a=0.0, noise_b=0.0, skill=3.0, spoilt=0.0):
    """A client of `n` examples and two models that see them, each with noise of its own; b is wrong on a share `spoilt`."""
    y = rng.integers(0, 4, n)
    logits = rng.normal(size=(n, 4)) + skill * np.eye(4)[y]
    a, b = (softmax(logits + rng.normal(scale=s, size=logits.shape)) for s in (noise_a, noise_b))
    wrong = rng.random(n) < spoilt
    b[wrong] = np.roll(b[wrong], 1, axis=1)
    return ClientOutputs(name, y, a, b)


def test_the_same_model_twice_is_equal_everywhere():
    rng = np.random.default_rng(0)
    found = compare(SPEC, [client(str(i), n, rng) for i, n in enumerate((1, 5, 80))], 3, seed=0)
    assert [row.client for row in found.rows] == ["0", "1", "2", ALL]
    assert found.verdict == "equal" and not found.worse
    for row in found.rows:
        assert (row.delta_class, row.delta_score, row.largest_score_difference, row.original_delta_score) == (0, 0, 0.0, 0)
        assert (row.p_ks, row.p_chi2, row.p_mcnemar, row.original_p_ks) == (1, 1, 1, 1)
        assert row.interval_low < 0 < row.interval_high
    assert found.all.examples == 86 and found.all.round == 3


def test_rounding_is_no_difference():
    rng = np.random.default_rng(1)
    found = compare(SPEC, [client(str(i), 50, rng, noise_b=1e-5) for i in range(3)], 1, seed=0)
    assert found.verdict == "equal"
    assert found.all.original_delta_score > 0.9 * 600  # most floats have other last bits


def test_models_of_one_kind_are_seldom_called_different():
    rng = np.random.default_rng(2)
    wrong = 0
    for trial in range(60):
        outputs = [client(str(i), 100, rng, noise_a=1.0, noise_b=1.0) for i in range(6)]
        found = compare(changed(SPEC, tolerance=0.0), outputs, trial, seed=0)
        wrong += found.verdict == "different" or bool(found.worse)
    assert wrong <= 6  # 3 expected at most; 7 or more have a chance of 3 %


def changed(spec, **changes):
    return spec.model_copy(update=changes)


def test_the_clients_that_differ_are_named_and_the_others_are_not():
    rng = np.random.default_rng(3)
    outputs = [client(str(i), 400, rng, noise_b=1e-3, spoilt=0.3 if i in (2, 5) else 0.0) for i in range(8)]
    found = compare(SPEC, outputs, 1, seed=0)
    assert found.verdict == "different"
    assert found.named("different") == ["2", "5"] == found.worse
    assert found.named("equal") == ["0", "1", "3", "4", "6", "7"]
    two = found.rows[2]
    assert "accuracy" in two.found and two.interval_high < 0
    assert two.accuracy_difference == pytest.approx(two.accuracy_b - two.accuracy_a)
    assert "2 of 8 clients (2, 5)" in found.told("old", "new")


def test_the_verdict_tells_effects_by_the_clients_on_which_they_are_found():
    rng = np.random.default_rng(12)
    flat = [client(str(i), 600, rng, spoilt=0.4 if i == 3 else 0.0) for i in range(5)]
    outputs = [ClientOutputs(o.client, o.labels, o.a, softmax(np.log(o.b) / 3)) for o in flat]
    told = compare(SPEC, outputs, 1, seed=0).told("old", "new")
    assert "new differs from old in accuracy on 1 of 5 clients (3), in scores on all 5 clients; less accurate on 1 of 5" in told


def test_better_is_different_but_not_worse():
    rng = np.random.default_rng(4)
    swapped = [ClientOutputs(o.client, o.labels, o.b, o.a) for o in [client("x", 400, rng, spoilt=0.3)]]
    found = compare(SPEC, swapped, 1, seed=0)
    assert found.verdict == "different" and not found.worse and found.all.accuracy_difference > 0.1


def test_scores_may_differ_where_no_class_does():
    rng = np.random.default_rng(5)
    sure = client("x", 500, rng)
    found = compare(SPEC, [ClientOutputs("x", sure.labels, sure.a, softmax(3 * np.log(sure.a)))], 1, seed=0)
    assert found.all.delta_class == 0
    assert found.all.found == "scores" and found.verdict == "different"


def test_a_difference_below_the_tolerance_is_equal_and_too_few_examples_are_undecided():
    rng = np.random.default_rng(6)
    small = [client("x", 4000, rng, noise_b=0.05, spoilt=0.004)]
    assert compare(SPEC, small, 1, seed=0).verdict == "equal"
    assert compare(changed(SPEC, tolerance=0.0), small, 1, seed=0).verdict != "equal"
    few = [client("x", 20, rng, noise_b=0.05)]
    assert compare(SPEC, few, 1, seed=0).verdict == "undecided"


def test_one_undecided_client_leaves_the_whole_undecided():
    rng = np.random.default_rng(7)
    found = compare(SPEC, [client("large", 5000, rng, noise_b=0.01), client("tiny", 10, rng, noise_b=0.5)], 1, seed=0)
    assert [row.verdict for row in found.rows] == ["equal", "undecided", "equal"]
    assert found.verdict == "undecided" and "(tiny)" in found.told("a", "b")


def test_numbers_are_written_as_on_pages_and_names_stay_as_they_are(capsys):
    """Minus signs instead of hyphens, powers of ten instead of "2.4e-05"; a hyphen in a name is one."""
    rng = np.random.default_rng(11)
    outputs = [client("a-1", 400, rng, noise_b=1e-5), client("b-2", 400, rng, spoilt=0.5)]
    found = compare(SPEC, outputs, 1, seed=0)
    print_clients(found)
    for text in (capsys.readouterr().out, found.told("old-er", "new")):
        assert "b-2" in text and "−" in text
        assert not re.search(r"\de[+-]?\d|[\s(]-\d", text)
    section = difftest_section("old-er", "new", SPEC.model_dump(), found.rows, [])
    assert section and "new differs from old-er" in section.body and "(b-2)" in section.body


def test_clients_without_examples_have_no_row():
    rng = np.random.default_rng(8)
    outputs = [client("none", 0, rng), client("some", 30, rng)]
    assert [row.client for row in compare(SPEC, outputs, 1, seed=0).rows] == ["some", ALL]
    with pytest.raises(FedlabError, match="no example"):
        compare(SPEC, outputs[:1], 1, seed=0)


def test_what_cannot_be_compared_is_said():
    y, a = np.array([0, 1]), np.full((2, 2), 0.5, np.float32)
    with pytest.raises(FedlabError, match="2 and 3 classes"):
        ClientOutputs("x", y, a, np.full((2, 3), 1 / 3, np.float32))
    with pytest.raises(DataError, match="class 2, and the models have 2 classes"):
        ClientOutputs("x", y + 1, a, a)
    with pytest.raises(FedlabError, match=r"second .* diverged"):
        ClientOutputs("x", y, a, np.full((2, 2), np.nan, np.float32))
    with pytest.raises(pydantic.ValidationError, match="two different arms"):
        Difftest(arms=("a", "a"))


def test_equal_arguments_give_equal_rows_and_another_seed_other_intervals():
    def found(seed):
        return compare(SPEC, [client("x", 60, np.random.default_rng(9), noise_b=1.0)], 4, seed)

    assert found(0) == found(0)
    ignoring = [dataclasses.replace(found(seed).all, interval_low=0.0, interval_high=0.0) for seed in (0, 1)]
    assert found(0) != found(1) and ignoring[0] == ignoring[1]


class TestTheFile:
    @pytest.fixture
    def rows(self):
        rng = np.random.default_rng(10)
        outputs = [client(name, 40, rng, noise_b=0.5, spoilt=0.2) for name in ("plain", 'a,b "c"', "7")]
        return [row for r in (1, 2) for row in compare(SPEC, outputs, r, seed=0).rows]

    def test_gives_back_what_was_written(self, rows, tmp_path):
        write_differences(tmp_path / "d.csv", rows)
        assert read_differences(tmp_path / "d.csv") == rows
        newest = latest(rows)
        assert newest == Differences(tuple(rows[4:])) and newest.all.client == ALL
        assert read_differences(tmp_path / "none.csv") == [] and latest([]) is None

    def test_grows_by_rounds_and_goes_on_after_those_that_are_kept(self, rows, tmp_path):
        path, whole = tmp_path / "d.csv", tmp_path / "whole.csv"
        for kept, added in (([], rows), (rows[:4], rows[4:])):
            file = DifftestFile(path, kept)
            file.append(added)
            file.sync()
            file.close()
            write_differences(whole, rows)
            assert path.read_bytes() == whole.read_bytes()

    def test_a_round_cut_short_is_left_out(self, rows, tmp_path):
        write_differences(tmp_path / "d.csv", rows)
        text = (tmp_path / "d.csv").read_text()
        (tmp_path / "d.csv").write_text(text[: text.rindex(ALL) + 3])
        assert read_differences(tmp_path / "d.csv") == rows[:4]

    def test_damage_is_named(self, rows, tmp_path):
        write_differences(tmp_path / "d.csv", rows)
        (tmp_path / "d.csv").write_text((tmp_path / "d.csv").read_text().replace("plain,40", "plain,forty", 1))
        with pytest.raises(FedlabError, match=r"d\.csv is damaged"):
            read_differences(tmp_path / "d.csv")

    def test_scores_are_a_sample_of_bounded_size(self, tmp_path):
        rng = np.random.default_rng(11)
        outputs = [client(name, n, rng, noise_b=0.5) for name, n in (("x", 30), ("none", 0), ("y", 50))]
        names, a, b = sampled_scores(outputs, 25, seed=0)
        assert len(names) == 25 and set(names) == {"x", "y"}
        write_scores(tmp_path / "s.csv", names, a, b)
        assert read_scores(tmp_path / "s.csv") == [
            (n, pytest.approx(x, rel=1e-5), pytest.approx(y, rel=1e-5)) for n, x, y in zip(names, a, b)
        ]
        everything = sampled_scores(outputs, 1000, seed=0)
        assert everything[1].tolist() == [o.a[i, o.labels[i]] for o in outputs for i in range(len(o.labels))]
