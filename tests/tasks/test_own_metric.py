"""A metric of a user's own, from a module that fedlab knows nothing of: in records, per client, on pages and in stop.when."""

from __future__ import annotations

import csv
import os
import pathlib
import re
import shlex
import sys

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from fedlab.archive import read_run
from fedlab.cli.main import main

MODULE = '''
import numpy as np
from pydantic import NonNegativeFloat
from sklearn.metrics import cohen_kappa_score

from fedlab.tasks import Metric, OwnMetric


class Kappa(OwnMetric):
    """Cohen's kappa; undefined on examples of one class."""

    name = "kappa"
    display = Metric("Cohen's kappa", more_is_better=True)
    power: NonNegativeFloat = 0.0

    def compute(self, predictions, y):
        if len(np.unique(y)) < 2:
            return float("nan")
        weights = "quadratic" if self.power else None
        return float(cohen_kappa_score(y, predictions.argmax(axis=1), weights=weights))


class Within(OwnMetric):
    """The share of predictions within `distance` of the target."""

    name = "within"
    display = Metric("within the distance", percent=True, more_is_better=True)
    distance: NonNegativeFloat

    def compute(self, predictions, y):
        return np.mean(np.abs(predictions[:, 0] - y) <= self.distance)


class Broken(Kappa):
    def compute(self, predictions, y):
        raise KeyError("no such thing")


class Text(Kappa):
    def compute(self, predictions, y):
        return "high"


def kappa(predictions, y):
    return 1.0
'''
SMALL = ["-q", "model=perceptron", "num_rounds=2", "cohort=all", "logger=[]", "hydra.run.dir=run"]


@pytest.fixture
def here(tensorflow, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    (tmp_path / "my_metrics.py").write_text(MODULE)
    yield tmp_path
    sys.modules.pop("my_metrics", None)


def own(metric: str, **options: object) -> str:
    return "{" + ",".join([f"_target_: my_metrics.{metric}", *(f"{k}: {v}" for k, v in options.items())]) + "}"


def test_it_is_measured_shown_and_judged_by_like_fedlabs_own(here, tensorflow):
    rng = np.random.default_rng(0)
    y, users = np.arange(90) % 3, np.array(["mixed"] * 90)
    users[(y == 2) & (np.arange(90) > 45)] = "twos"
    x = (rng.normal(size=(90, 4)) + np.eye(4)[y]).astype(np.float32)
    np.savez("own.npz", x=x, y=y, user_ids=users, x_test=x, y_test=y)
    words = ["data=npz", "data.path=own.npz", "partition=by_user", f"evaluation.metrics=[auc,{own('Kappa', power=1)}]"]
    assert main(["train", *SMALL, *words, "stop.when=test_kappa>=0.999", "objective.metric=test_kappa"]) == 0
    run = read_run(here / "run")
    logits = tensorflow.keras.models.load_model(run.folder.model)(x).numpy()
    expected = cohen_kappa_score(y, logits.argmax(1), weights="quadratic")
    assert run.summary["test_kappa"] == run.records()[-1]["test_kappa"] == pytest.approx(expected)
    table = {row["client"]: row for row in csv.DictReader((here / "run" / "clients.csv").read_text().splitlines())}
    assert table["twos"]["kappa"] == "" and run.summary["client_kappa_undefined"] == 1
    assert run.summary["client_kappa_mean"] == float(table["mixed"]["kappa"])
    assert "Cohen&#39;s kappa" in run.folder.report.read_text()
    assert run.manifest["data"]["task"]["metrics"]["kappa"]["more_is_better"]


def test_regression_has_own_metrics_too(here):
    words = ["data=diabetes", "partition=iid", "partition.num_clients=2", f"evaluation.metrics=[{own('Within', distance=60)}]"]
    assert main(["train", *SMALL, *words]) == 0
    assert 0 < read_run(here / "run").summary["test_within"] <= 1


def test_a_recorded_run_names_the_code(here, capfd):
    assert main(["train", *SMALL, "data.max_examples=100", f"evaluation.metrics=[{own('Kappa')}]"]) == 0
    assert main(["verify", "run"]) != 0
    assert "evaluation.metrics[0]._target_=my_metrics.Kappa" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ([own("Kapa")], "evaluation.metrics[0]._target_=my_metrics.Kapa cannot be imported"),
        ([own("kappa")], "each item must be a name or {_target_: my_module.MyMetric}, a fedlab.tasks.OwnMetric, not a partial"),
        ([own("Kappa", power=-1)], "evaluation.metrics[0].power=-1"),
        ([own("Kappa", other=1)], "other"),
        ([own("Kappa"), own("Broken")], "two metrics are called kappa"),
        ([own("Broken")], "evaluation.metrics: Broken.compute failed: KeyError: 'no such thing' ("),
        ([own("Text")], "Text.compute returned a str; it must return a float"),
        (["3"], "each item must be a name"),
    ],
)
def test_mistakes_are_one_line(here, capfd, entries, told):
    assert main(["train", *SMALL, "data.max_examples=100", f"evaluation.metrics=[{','.join(entries)}]"]) == 2
    error = capfd.readouterr().err
    assert told in error and error.count("\n") == 1, error


def test_the_example_of_the_page_runs(here):
    page = (pathlib.Path(__file__).parents[2] / "docs" / "adding" / "metric.md").read_text()
    (here / "my_metrics.py").write_text(re.search(r"```python\n# my_metrics\.py\n(.*?)```", page, re.DOTALL)[1])
    words = shlex.split(re.search(r"    fedlab train (.*)", page)[1])
    if not (pathlib.Path(os.environ.get("FEDLAB_DATA_DIR", "")) / "heart").is_dir():
        pytest.skip("needs the heart data in FEDLAB_DATA_DIR")
    assert main(["train", *words, "-q", "num_rounds=2", "cohort=all", "logger=[]", "hydra.run.dir=run"]) == 0
    assert 0 <= read_run(here / "run").summary["test_recall"] <= 1
