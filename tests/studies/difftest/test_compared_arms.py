"""Two arms of a run compared as it goes along: on whose examples, how it goes on, and what it finds."""

from __future__ import annotations

import numpy as np
import pytest

from fedlab.algorithms import LocalOnly
from fedlab.archive import RunFolder, make_folder
from fedlab.cohort import All
from fedlab.corruption import Inversion, LabelFlip
from fedlab.errors import ConfigError
from fedlab.evaluation import Evaluation
from fedlab.experiments.defects import SoftmaxTwice
from fedlab.models import Mlp
from fedlab.partition import Iid
from fedlab.run import inputs
from fedlab.studies.difftest.options import Difftest
from fedlab.studies.difftest.record import differences_file, read_differences, read_scores, scores_file
from fedlab.studies.difftest.verdict import latest

SPEC = Difftest(bootstrap=100, scores=20)
ARMS = {"right": {}, "wrong": dict(model=SoftmaxTwice(hidden=(8,)), corruption=Inversion(users=("2",)))}
FIGURES = ("difftest_delta_class", "difftest_clients_different")


@pytest.fixture(scope="module")
def defect(run_of):
    """A right arm, and one with a wrong loss and a client whose pixels are inverted.

    Five rounds, of which every second and the last are compared.
    """
    return run_of(
        arms=ARMS,
        num_rounds=5,
        eval_every=2,
        model=Mlp(hidden=(8,)),
        difftest=SPEC.model_copy(update={"every": 2}),
    )


@pytest.mark.slow
def test_every_second_round_and_the_last_are_compared(defect):
    rows = read_differences(differences_file(defect.folder))
    clients = list(defect.partition.client_ids)
    assert [(row.round, row.client) for row in rows] == [(r, c) for r in (2, 4, 5) for c in [*clients, "(all)"]]
    assert [all(name in record for name in FIGURES) for record in defect.records] == [False, True, False, True, True]
    assert len(read_scores(scores_file(defect.folder))) == 20


def test_the_rows_say_what_the_saved_models_say(defect, tensorflow):
    (dataset, partition), (spoilt, _) = (inputs.load(arm) for arm in defect.experiment.arms.values())
    newest = latest(read_differences(differences_file(defect.folder)))
    models = [
        tensorflow.keras.models.load_model(defect.folder.path / "arms" / name / "model.keras") for name in ("right", "wrong")
    ]
    for row, mine in zip(newest.clients, partition.indices):
        assert (dataset.train.x[mine] == spoilt.train.x[mine]).all() == (row.client != "2")
        a, b = (
            tensorflow.nn.softmax(model(data.train.x[mine].astype(np.float32) / 255)).numpy()
            for model, data in zip(models, (dataset, spoilt))
        )
        assert row.examples == len(mine)
        assert row.delta_class == (a.argmax(1) != b.argmax(1)).sum()
        assert row.largest_score_difference == pytest.approx(np.abs(a - b).max(), rel=1e-4)
        assert row.accuracy_a == pytest.approx((a.argmax(1) == dataset.train.y[mine]).mean())
        assert row.accuracy_b == pytest.approx((b.argmax(1) == dataset.train.y[mine]).mean())


def test_the_summary_has_the_verdict_of_the_last_round(defect):
    newest = latest(read_differences(differences_file(defect.folder)))
    assert defect.summary["difftest_verdict"] == newest.verdict
    assert defect.summary["difftest_told"] == newest.told("right", "wrong")
    assert defect.summary["difftest_p_ks"] == newest.all.p_ks
    assert defect.summary["difftest_original_p_chi2"] == newest.all.original_p_chi2
    assert defect.summary["difftest_different"] == newest.named("different")
    assert {name: defect.records[-1][name] for name in FIGURES} == {name: defect.summary[name] for name in FIGURES}


@pytest.mark.slow
def test_a_run_that_went_on_has_the_rows_of_one_that_was_never_stopped(defect, run_of, tmp_path):
    folder = RunFolder(make_folder(tmp_path / "run"))
    shared = dict(
        arms=ARMS,
        eval_every=2,
        model=Mlp(hidden=(8,)),
        difftest=SPEC.model_copy(update={"every": 2}),
    )
    run_of(folder=folder, num_rounds=3, **shared)
    assert {row.round for row in read_differences(differences_file(folder))} == {2, 3}
    whole = run_of(folder=folder, goes_on=True, num_rounds=5, **shared)
    for name in ("difftest.csv", "difftest_scores.csv"):
        assert (folder.path / name).read_bytes() == (defect.folder.path / name).read_bytes()

    def figures(run):
        return [{k: v for k, v in r.items() if "seconds" not in k} for r in run.records]

    assert figures(whole) == figures(defect)
    assert whole.summary["difftest_told"] == defect.summary["difftest_told"]


def test_equal_arms_are_equal_on_what_clients_have_held_out(run_of):
    spec = SPEC.model_copy(update={"arms": ("b", "a")})
    run = run_of(
        arms={"a": {}, "b": {}}, num_rounds=1, difftest=spec, partition=Iid(num_clients=5), evaluation=Evaluation(holdout=0.4)
    )
    rows = read_differences(differences_file(run.folder))
    assert [row.examples for row in rows[:-1]] == [len(i) for i in run.partition.held_out]
    assert run.summary["difftest_told"].startswith("equal: a and b, all scores within their tolerance")
    assert all(row.original_delta_score == 0 for row in rows)


def test_the_test_set_is_one_client(run_of):
    spec = SPEC.model_copy(update={"data": "test"})
    run = run_of(arms={"a": {}, "b": dict(corruption=Inversion(users=("2",)))}, num_rounds=1, difftest=spec)
    rows = read_differences(differences_file(run.folder))
    assert [(row.client, row.examples) for row in rows] == [("test set", len(run.test)), ("(all)", len(run.test))]
    assert [rows[0].accuracy_a, rows[0].accuracy_b] == pytest.approx([run.summary[f"{arm}/test_accuracy"] for arm in "ab"])


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(arms={}), "none: give arms"),
        (dict(arms={"a": {}, "b": {}}, difftest=Difftest(arms=("a", "c"))), "names 'c', which is no arm of this run: a, b"),
        (
            dict(arms={"a": {}, "b": dict(partition=Iid(num_clients=2), cohort=All())}),
            "do not have the same examples of the same",
        ),
        (
            dict(arms={"a": {}, "b": dict(process=LocalOnly())}, difftest=Difftest(data="test")),
            "arm b trains a model per client: use difftest.data=clients",
        ),
        (
            dict(arms={"a": {}, "b": dict(corruption=LabelFlip(users=("2",)))}),
            "do not have the same examples of the same classes",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused(options, message, run_of):
    with pytest.raises(ConfigError, match=message):
        run_of(**{"num_rounds": 1, "difftest": SPEC, **options})
