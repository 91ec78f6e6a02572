"""Words, axes and curves: what stands on a page is what is in the records."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest

from fedlab.archive.clients import ClientLabels
from fedlab.report import words
from fedlab.report.heat import MAX_CLIENTS, evenly_spaced, heat_map
from fedlab.report.plot import ROOM, Axis, Curve, color, line_plot, tick_texts
from fedlab.report.scale import linear, logarithmic, rounds, suited
from fedlab.report.section import TEMPLATES
from fedlab.report.sections.clients import accuracy_histogram
from fedlab.report.series import MAX_POINTS, distinct, last, names, pieces, series, thinned
from fedlab.studies.difftest.plots import difference_map
from fedlab.studies.sweep.plots import parameter_axis


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
        ("attack_score_clients", -0.0106, "−0.01"),
        ("attack_score_global", -0.0004, "0.00"),
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

    def test_a_curve_that_another_one_hides_is_wider(self):
        rising = [(r, r / 10) for r in range(1, 7)]
        falling = [(r, 1 - r / 10) for r in range(1, 7)]
        near = [(r, v + 1e-4) for r, v in rising[:4]]
        curves = [Curve(str(i), points, f"s{i}") for i, points in enumerate((rising, falling, near, rising), 1)]
        widths = [mark.css.split()[2:] for mark in line_plot("Loss", curves, "").marks if mark.name]
        assert widths == [["under2"], [], ["under"], []]

    def test_a_legend_has_a_colour_for_each_of_its_names(self):
        names = [str(i) for i in range(24)]
        plot = line_plot("Loss", [Curve(name, [(1, 0.0), (2, i)], color(i)) for i, name in enumerate(names)], "")
        assert [name for name, _ in plot.legend] == names and len({css for _, css in plot.legend}) == 24


_AXES = {
    "rounds": Axis(rounds(1, 10_000_000), ""),
    "few rounds": Axis(rounds(9_998, 10_003), ""),
    "logarithmic": Axis(suited([1e-7, 1.0]), ""),
    "odd values": parameter_axis("x", [0.00316228, 0.00398107, 0.00501187, 0.00630957, 0.00794328])[0],
    "shares": Axis(linear(0.97712, 0.97718), "", "percent"),
}


@pytest.mark.parametrize("room", [ROOM, 15])
@pytest.mark.parametrize("name", _AXES)
def test_texts_below_an_axis_do_not_touch(name, room):
    """A letter takes 0.6 em; `last` ends half an em after its tick, `first` begins a third before, others are centred."""
    axis = _AXES[name]
    shown = axis.across(room)
    spans = []
    for at, text, css in shown:
        place, width = at / 100 * room, 0.6 * len(text)
        left = {"last": place + 0.5 - width, "first": place - 0.3}.get(css, place - width / 2)
        spans.append((left, left + width))
    assert shown and all(a[1] < b[0] for a, b in itertools.pairwise(spans))
    assert all(right <= room + 1 for _, right in spans) and {(at, text) for at, text, _ in shown} <= set(axis.ticks)
    if room > sum(0.62 * len(text) + 1 for _, text in axis.ticks):  # evenly spaced texts that all have room
        assert len(shown) == len(axis.ticks)


def test_many_choices_are_set_upright_and_thinned_where_they_stand_above_each_other():
    axis, _ = parameter_axis("partition", [f"dirichlet_{i}" for i in range(30)])
    assert axis.choices and axis.upright and len(axis.column()) <= 15 and len(axis.ticks) == 30
    few, _ = parameter_axis("model", ["mlp", "cnn"])
    assert few.choices and not few.upright and few.column() == few.ticks


def test_every_table_can_be_scrolled():
    """A table that is wider than a phone would else make the page wider, or break its words between letters."""
    for template in TEMPLATES.rglob("*.html"):
        text = template.read_text()
        assert text.count("<table") == len(re.findall(r'<div class="scroll"[^>]*>\s*<table', text)), template


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
        named = heat_map([ClientLabels("a", (1, 2)), ClientLabels("b", (3, 0))], ["healthy", "sick"])
        assert [text for _, text in named.row_ticks] == ["healthy", "sick"] and named.gutter > 4
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
