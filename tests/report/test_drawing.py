"""Words, axes and curves: what stands on a page is what is in the records."""

from __future__ import annotations

import re

import numpy as np
import pytest

from fedlab.archive.clients import ClientLabels
from fedlab.report import words
from fedlab.report.heat import MAX_CLIENTS, difference_map, evenly_spaced, heat_map
from fedlab.report.plot import Curve, line_plot, tick_texts
from fedlab.report.scale import linear, logarithmic, rounds, suited
from fedlab.report.sections.clients import accuracy_histogram
from fedlab.report.sections.privacy import distinct
from fedlab.report.series import MAX_POINTS, last, names, pieces, series, thinned


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("test_accuracy", 0.97493, "97.49%"),
        ("test_loss", 0.076659, "0.07666"),
        ("test_loss", None, "–"),
        ("test_loss", 5.984e19, "5.984 × 10¹⁹"),
        ("server_norm", -0.5, "−0.5000"),
        ("learning_thing", 3e-7, "3 × 10⁻⁷"),
        ("bytes_up_total", 203_550_000, "204 MB"),
        ("bytes_up", 999, "999 B"),
        ("bytes_up", 3.2e15, "3,200 TB"),
        ("seconds_per_round", 0.060029, "0.060 s"),
        ("seconds_total", 59.96, "1 min 0 s"),
        ("seconds_total", 7_860, "2 h 11 min"),
        ("num_weights", 101_770, "101,770"),
        ("weights", "abc", "abc"),
    ],
)
def test_values_have_their_units(name, value, text):
    assert words.metric_value(name, value) == text


def test_settings_read_as_they_are_typed():
    assert [words.setting(v) for v in (None, True, 0.1, [128, None], "a b")] == ["null", "true", "0.1", "[128, null]", "a b"]
    assert words.option("aggregator._target_", "fedlab.aggregation.Krum") == ("aggregator", "Krum")


class TestScales:
    @pytest.mark.parametrize("seed", range(20))
    def test_a_linear_axis_holds_its_values_between_few_round_ticks(self, seed):
        rng = np.random.default_rng(seed)
        low, high = sorted(rng.normal(size=2) * 10.0 ** rng.integers(-8, 9))
        scale = linear(low, high)
        assert scale.low <= low < high <= scale.high and 3 <= len(scale.ticks) <= 8
        assert scale.at(scale.low) == 0 and scale.at(scale.high) == pytest.approx(1)
        assert 0 <= scale.at(low) < scale.at(high) <= 1 + 1e-9
        assert len(set(tick_texts(scale.ticks, "number"))) == len(scale.ticks)

    @pytest.mark.parametrize("low", [0, 1, 143])
    @pytest.mark.parametrize("more", [0, 1, 2, 7, 1000])
    def test_an_axis_of_counts_has_no_ticks_between_them(self, low, more):
        scale = linear(low, low + more, whole=True)
        assert scale.low <= low and low + more <= scale.high
        assert 2 <= len(scale.ticks) <= 8 and all(tick == round(tick) for tick in scale.ticks)

    @pytest.mark.parametrize("value", [0.0, 5.0, -1e-9, 1e30])
    def test_equal_values_lie_in_the_midst(self, value):
        assert 0.2 < linear(value, value).at(value) < 0.8
        if value > 0:
            assert logarithmic([value]).at(value) == pytest.approx(0.5)

    def test_values_of_different_magnitude_are_set_by_their_logarithms(self):
        scale = suited([0.001, 0.01, 0.1])
        assert scale.log and scale.at(0.01) == pytest.approx(0.5) and scale.ticks == pytest.approx((0.001, 0.01, 0.1))
        assert not suited([0.0, 100.0]).log and not suited([1.0, 2.0]).log

    @pytest.mark.parametrize(("first", "last"), [(1, 1), (1, 2), (1, 7), (1, 100), (3, 60), (1, 10_000)])
    def test_rounds_are_whole(self, first, last):
        scale = rounds(first, last)
        assert all(t == int(t) and first <= t <= last for t in scale.ticks) and 1 <= len(scale.ticks) <= 8
        assert scale.ticks[0] == first or last - first > 2


class TestThinning:
    def test_ends_and_extremes_stay(self):
        rng = np.random.default_rng(0)
        points = [(float(i), float(v)) for i, v in enumerate(rng.normal(size=10_000))]
        kept = thinned(points)
        assert len(kept) <= MAX_POINTS + 2 and kept == sorted(kept) and set(kept) <= set(points)
        assert kept[0] == points[0] and kept[-1] == points[-1]
        for extreme in (min, max):
            assert extreme(points, key=lambda p: p[1]) in kept

    def test_few_points_are_all_kept(self):
        points = [(float(i), 0.0) for i in range(MAX_POINTS)]
        assert thinned(points) == points

    def test_a_value_that_is_no_number_interrupts_and_one_that_is_not_there_does_not(self):
        records = [{"round": 1, "x": 1.0}, {"round": 2}, {"round": 3, "x": 3.0}, {"round": 4, "x": None}, {"round": 5, "x": 5.0}]
        assert series(records, "x") == [(1, 1.0), (3, 3.0), (4, None), (5, 5.0)]
        assert pieces(series(records, "x")) == [[(1, 1.0), (3, 3.0)], [(5, 5.0)]]
        assert last(records, "x") == (5, 5.0) and last(records, "y") is None

    def test_text_and_lists_are_no_curves(self):
        assert names([{"round": 1, "weights_hash": "ab", "norms": [1.0], "clip": 2.0}, {"round": 2, "late": 1}]) == [
            "clip",
            "late",
        ]


class TestPlots:
    def test_points_are_drawn_where_their_values_are(self):
        plot = line_plot("Accuracy", [Curve("test set", [(1, 0.2), (2, 0.5), (3, 0.6)], "s1")], "", "percent")
        coordinates = [tuple(map(float, xy.split())) for xy in re.split("[ML]", plot.marks[0].d)[1:]]
        values = [plot.y.scale.high - y / 1000 * (plot.y.scale.high - plot.y.scale.low) for _, y in coordinates]
        assert [x for x, _ in coordinates] == [0, 500, 1000] and values == pytest.approx([0.2, 0.5, 0.6], abs=1e-4)
        assert "from 20.00% to 60.00%" in plot.alt and "in round 3" in plot.alt

    def test_an_accuracy_axis_ends_at_100_percent(self):
        band = [(1, 0.9, 1.2), (2, 0.9, 1.1)]
        plot = line_plot("Accuracy", [Curve("a", [(1, 0.95), (2, 1.0)], "s1", band)], "", "percent")
        assert plot.y.scale.high <= 1 and plot.y.ticks[-1][1] in ("100%", "100.0%")

    def test_a_single_point_is_a_dot(self):
        plot = line_plot("Loss", [Curve("a", [(1, None), (7, 2.0), (8, None)], "s1")], "nats", zero=True)
        assert any(mark.css.startswith("dots") and mark.d.count("h0") == 1 for mark in plot.marks)

    def test_nothing_to_draw_is_no_plot(self):
        assert line_plot("Loss", [Curve("a", [(1, None)], "s1"), Curve("b", [], "s2")], "") is None

    def test_values_that_exceed_floats_do_no_harm(self):
        plot = line_plot("Loss", [Curve("a", [(1, 1.7e308), (2, -1.7e308)], "s1")], "")
        assert "nan" not in plot.marks[0].d and "inf" not in plot.marks[0].d


class TestHeatMap:
    def test_every_cell_that_holds_examples_is_drawn_once_and_darker_with_more(self):
        counts = np.array([[0, 4, 100], [25, 0, 1]])
        found = heat_map([ClientLabels(str(i), tuple(row)) for i, row in enumerate(counts.tolist())])
        cells = {(int(x), int(y)): o for o, d in found.levels for x, y in re.findall(r"M(\d+) (\d+)", d)}
        assert set(cells) == {(c, k) for c, k in zip(*np.nonzero(counts))}
        assert cells[0, 2] == 1 and cells[0, 2] > cells[1, 0] > cells[0, 1] > cells[1, 2] > 0

    def test_of_differences_is_clients_by_rounds_with_the_different_ones_marked(self):
        cells = [[(0.0, False), (0.1, False)], [(0.4, True), (0.0, True)], [(0.0, False), (0.0, False)]]
        found = difference_map(["x", "y", "z"], [2, 5], cells, "old", "new")
        drawn = {(int(x), int(y)): o for o, d in found.levels for x, y in re.findall(r"M(\d+) (\d+)", d)}
        assert drawn == {(0, 1): 1, (1, 0): 0.5}
        assert found.marks == "M0.5 1.5h0M1.5 1.5h0"
        assert [text for _, text in found.row_ticks] == ["x", "y", "z"] and [t for _, t in found.column_ticks] == ["2", "5"]
        assert "40.00%" in found.alt and difference_map(["x"], [1], [[(0.0, False)]], "old", "new").legend == ()

    def test_many_clients_are_sampled_not_averaged(self):
        found = heat_map([ClientLabels(f"writer-{i:04}-with-a-long-name", (i + 1, 0)) for i in range(1000)])
        assert found.num_columns == MAX_CLIENTS and "100 of 1,000, evenly spaced" in found.x_label
        assert evenly_spaced(1000, MAX_CLIENTS)[0] == 0 and evenly_spaced(1000, MAX_CLIENTS)[-1] == 999
        assert all(len(text) <= 12 for _, text in found.column_ticks)


@pytest.mark.parametrize("n", [1, 2, 7, 19, 20, 21, 30, 144, 359, 10_000])
def test_bars_span_equally_many_accuracies(n):
    """Where every accuracy that can be occurs once, no bar but the last, which may reach beyond 1, differs from another."""
    first = n // 3
    accuracies = [k / n for k in range(first, n + 1)]
    plot = accuracy_histogram(accuracies, "accuracy", [n] * len(accuracies))
    bars = re.findall(r"M([\d.]+) 1000V([-\d.]+)H([\d.]+)V", plot.marks[0].d)
    assert 1 <= len(bars) <= 21 and len({(top, round(float(right) - float(left))) for left, top, right in bars[:-1]}) <= 2
    assert len({top for _, top, _ in bars[:-1]}) <= 1
    assert all(0 <= tick <= 1 + 1e-9 for tick in plot.x.scale.ticks)


def test_an_epsilon_that_says_the_same_is_told_once():
    assert distinct({"epsilon": 2.0, "epsilon_rdp": 3.0, "epsilon_pld": 2.0}) == ["epsilon", "epsilon_rdp"]
    assert distinct({"epsilon_rdp": 3.0, "epsilon_pld": 3.0}) == ["epsilon_rdp", "epsilon_pld"]
