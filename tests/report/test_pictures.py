"""Pictures that matplotlib draws: nothing strikes the names of a legend through, no tick is a value that cannot be."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.text import Text

from fedlab.report.curves import plot_curves
from fedlab.report.partition_plot import plot_partition
from fedlab.report.privacy_plot import plot_privacy
from fedlab.studies.investigate.page import _histograms
from fedlab.studies.investigate.plots import plot_accuracies

_ARMS = [f"{name} {'and what it changes ' * (name == 'a')}" for name in "abcdefg"]
_SCORES = {"a/generated_score": 1.0, "a/real_score": 2.0, "b/generated_score": 2.0, "b/real_score": 1.0}


def _flat(value: float) -> dict[str, float]:
    return {f"{kind}_{metric}": value for kind in ("train", "test") for metric in ("accuracy", "loss")}


PICTURES = {
    "accuracies": lambda path: plot_accuracies({"without": np.array([0.99, 1, 1]), "with": np.array([0.1, 0.3, 0.5])}, path),
    "accuracies everywhere": lambda path: plot_accuracies(
        {"without": np.linspace(0, 1, 500), "with": np.linspace(0, 1, 99)}, path
    ),
    "privacy": lambda path: plot_privacy([1, 2, 3], [5.0, 5.1, 5.2], [0.1, 0.2, 0.3], path),
    "curves": lambda path: plot_curves([{"round": r, **_flat(r * r / 900)} for r in range(1, 31)], path),
    "curves of many arms with long names": lambda path: plot_curves(
        [{"round": r, **{f"{arm}/test_{m}": r for arm in _ARMS for m in ("accuracy", "loss")}} for r in (1, 2)], path
    ),
    "curves of a GAN": lambda path: plot_curves(
        [
            {"round": r, "a/polarity": r / 9, "b/polarity": 1 - r / 9, **{n: s * r for n, s in _SCORES.items()}}
            for r in range(1, 9)
        ],
        path,
    ),
}


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    """Draws a picture with a function that writes it to a path; its figure."""
    figures: list[Figure] = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *args, **more: (figures.append(self), save(self, *args, **more)))

    def draw(picture):
        picture(tmp_path / "picture.png")
        FigureCanvasAgg(figures[-1]).draw()
        return figures[-1]

    return draw


@pytest.mark.parametrize("name", PICTURES)
def test_nothing_strikes_a_legend_through(name, drawn):
    figure = drawn(PICTURES[name])
    legends = [legend.get_window_extent() for legend in figure.findobj(Legend)]
    page = figure.get_window_extent()
    assert legends
    for box in legends:
        assert page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0  # none is cut
        for axes in figure.axes:
            assert not box.overlaps(axes.get_window_extent())  # all lines and bars lie inside of the axes
            assert not any(box.overlaps(text.get_window_extent()) for text in (axes.xaxis.label, *axes.get_xticklabels()))


@pytest.mark.parametrize("loss", [1e8, 1e-6])
def test_a_common_factor_of_the_values_does_not_cover_the_title(loss, drawn):
    records = [{"round": r, **_flat(0.5), "train_loss": loss * r, "test_loss": loss * 2 * r} for r in (1, 2, 3)]
    axes = drawn(lambda path: plot_curves(records, path)).axes[1]
    factor, title = axes.yaxis.get_offset_text(), next(t for t in axes.findobj(Text) if t.get_text().startswith("loss"))
    assert factor.get_text() and not factor.get_window_extent().overlaps(title.get_window_extent())


@pytest.mark.parametrize("largest", [3, 99_999, 88_888_888])
@pytest.mark.parametrize("name", ["{}", "the hospital of a large town {}"])
@pytest.mark.parametrize("labels", [None, [f"a class with a very long name {i}" for i in range(62)]])
def test_texts_around_a_partition_are_whole_and_apart(name, largest, labels, drawn):
    counts = np.linspace(0, largest, 3 * 62).astype(int).reshape(3, 62)
    clients = [name.format(i) for i in range(3)]
    figure = drawn(lambda path: plot_partition(counts, path, "data: 3 clients", clients, labels))
    shown = [text.get_text() for axes in figure.axes for text in axes.get_yticklabels()]
    assert any(text.startswith("a class with") for text in shown) == bool(labels)
    page = figure.get_window_extent()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            label = axis.label.get_window_extent()
            # matplotlib keeps texts at ticks outside of an axis, which it does not show
            low, high = sorted(axis.get_view_interval())
            ticks = [t for t in axis.get_major_ticks() if low <= t.get_loc() <= high]
            texts = [t for tick in ticks for t in (tick.label1, tick.label2) if t.get_visible() and t.get_text()]
            for box in (text.get_window_extent() for text in texts):
                assert page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1
                assert not axis.label.get_text() or not box.overlaps(label)
            if axis.label.get_text():
                assert page.x0 <= label.x0 and label.x1 <= page.x1 and page.y0 <= label.y0


def test_users_of_an_investigation_are_all_in_its_histograms():
    users = [(str(i), i / 20, 1.0, True) for i in range(21)]
    for plot, counts in zip(_histograms(users), ([1] * 19 + [2], [0] * 19 + [21])):
        assert plot.marks[0].d.count("M") == sum(count > 0 for count in counts)
        assert plot.y.scale.high >= max(counts) and all(0 <= tick <= 1 for tick in plot.x.scale.ticks)
