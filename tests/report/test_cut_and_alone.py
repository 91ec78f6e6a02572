"""The sections of runs that split a model, and of runs without federation."""

from __future__ import annotations

from fedlab.archive import RunFolder
from fedlab.archive.clients import ClientScore, write_scores
from fedlab.report.page import write_report
from tests.report.conftest import read_page, records_of


def test_what_crossed_the_cut_is_told_by_kind(run):
    crossing = {"bytes_up_activations": 4_000_000, "bytes_down_feature_gradients": 2_000, "leakage_distance_correlation": 0.75}
    cut = {"cut": "<dense>", "cut_top": "dense_1", "cut_shape": [128]}
    page = read_page(write_report(run("cut", records=[{**r, **crossing} for r in records_of(4)], split=cut)))
    assert page.sections.index("cut") == 2
    assert "activations client to server 16 MB 4 MB" in page.text and "feature gradients server to client 8 kB 2 kB" in page.text
    assert "up to <dense>, whose output is 128 values" in page.text and "after the last round: 0.7500" in page.text
    assert "cut" not in read_page(write_report(run("whole"))).sections


def test_models_of_their_own_are_told_from_the_worst_to_the_best(run):
    path = run("alone")
    scores = [ClientScore(str(c), 20, (c + 1) / 10, 0.5) for c in range(8)]
    write_scores(RunFolder(path).local_models, scores)
    page = read_page(write_report(path))
    assert page.sections.index("local") == 2
    assert "8 clients has a model of its own" in page.text and "45.00% on average, from 10.00% to 80.00%" in page.text
    assert "Its own model on each client's" in page.text
