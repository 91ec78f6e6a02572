"""The task of docs/adding/task.md, which fedlab knows nothing of, trains, is measured, shown and ranked like fedlab's own."""

from __future__ import annotations

import json
import pathlib
import re
import sys
import types
from typing import Any

import numpy as np
import pytest

from fedlab.archive import read_run
from fedlab.archive.clients import read_scores
from fedlab.archive.task import CLASSIFICATION, learned
from fedlab.cli.main import main
from fedlab.config.composing import build_experiment, compose
from fedlab.errors import ConfigError, FedlabError
from fedlab.run import inputs
from fedlab.studies.sweep import optuna_study
from fedlab.studies.sweep.goal import Goal, goal_of
from fedlab.studies.sweep.objective import Objective

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "adding" / "task.md"
SMALL = ["partition.num_clients=4", "cohort=all", "num_rounds=3", "client.batch_size=20", "client.local_epochs=2"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The files of the page, written where it says, in the folder of the tests; the words of its command."""
    folder, text = tmp_path_factory.mktemp("own"), PAGE.read_text()
    for path, rest in re.findall(r"```\w+\n# (\S+)\n(.*?)```", text, re.DOTALL):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(rest)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(str(folder))
        yield types.SimpleNamespace(folder=folder, words=re.search(r"fedlab train (.*)", text)[1].split())
    sys.modules.pop("my_task", None)


@pytest.fixture(scope="module")
def fedlab(place):
    """Trains with the command of the page and more overrides, into a folder of this name."""

    def train(name: str, *overrides: str) -> Any:
        assert main(["train", "--quiet", *place.words, *SMALL, *overrides, f"hydra.run.dir={name}"]) == 0
        return read_run(place.folder / name)

    return train


@pytest.fixture(scope="module")
def plain(fedlab):
    return fedlab("plain", "checkpoint.every=1")


@pytest.fixture
def experiment(place):
    return lambda *overrides: build_experiment(compose([*place.words[2:], *SMALL, *overrides], str(place.folder / "my_conf")))


def page_of(run):
    """The words of a run's page, without its scripts and without the objective of sweeps, an option like others."""
    return run.folder.report.read_text().split("<body")[1].split("<script")[0].replace("<dd>test_accuracy</dd>", "")


def test_fed_avg_learns_and_is_measured_against_predicting_the_mean(plain, experiment):
    summary, records = plain.summary, plain.records()
    assert {"test_msle", "test_baseline_msle", "test_loss"} <= set(records[-1]) and "test_accuracy" not in records[-1]
    assert {"train_msle", "train_baseline_msle", "train_loss"} <= set(records[-1])
    assert summary["test_msle"] < 0.8 * summary["test_baseline_msle"] and summary["test_msle"] < records[0]["test_msle"]
    dataset, _ = inputs.load(experiment())
    assert summary["test_baseline_msle"] == pytest.approx(float(np.log(dataset.test.y).var(dtype=np.float64)), rel=1e-4)
    assert {"client_msle_mean", "client_msle_p90", "client_msle_worst"} <= set(summary)
    scores = read_scores(plain.folder.clients)
    assert plain.folder.clients.read_text().splitlines()[0] == "client,examples,msle,loss"
    assert summary["client_msle_worst"] == max(s.score for s in scores)
    task = plain.manifest["data"]["task"]
    assert task["name"] == "log regression" and task["headline"] == "msle" and plain.manifest["data"]["num_classes"] is None
    assert not plain.folder.labels.exists() and not plain.folder.partition.exists(), "there are no classes to count"


def test_the_model_that_is_left_is_the_one_that_was_measured(plain, experiment, tensorflow):
    dataset, _ = inputs.load(experiment())
    task, model = dataset.test.task, tensorflow.keras.models.load_model(plain.folder.model)
    outputs = model(dataset.test.x).numpy()[:, 0] * task.scale + task.mean
    assert np.mean((outputs - np.log(dataset.test.y)) ** 2) == pytest.approx(plain.summary["test_msle"], rel=1e-4)


def test_a_resumed_run_equals_an_uninterrupted_one(plain, fedlab, place):
    fedlab("resumed", "num_rounds=2", "checkpoint.every=1")
    assert main(["train", "--quiet", "--trust", "resume=resumed", "num_rounds=3"]) == 0
    assert read_run(place.folder / "resumed").summary["weights_hash"] == plain.summary["weights_hash"]


@pytest.mark.sampled
@pytest.mark.parametrize("overrides", [["engine=tff"], ["secure=masked"]], ids=lambda o: o[0])
def test_engines_and_masks_give_the_same_metrics(plain, fedlab, overrides):
    other = fedlab(overrides[0].replace("=", "_"), *overrides)
    for ours, theirs in zip(plain.records(), other.records()):
        for name in ("train_loss", "train_msle", "train_baseline_msle", "test_msle"):
            assert theirs[name] == pytest.approx(ours[name], rel=2e-3)
        assert not theirs["non_finite_clients"]


def test_a_private_run_has_an_epsilon(fedlab):
    summary = fedlab("private", "privacy=gaussian_fixed", "cohort=uniform", "cohort.clients_per_round=2").summary
    assert 0 < summary["epsilon"] < float("inf") and np.isfinite(summary["test_msle"])


@pytest.mark.sampled
@pytest.mark.parametrize("process", ["local_only", "split"])
def test_other_algorithms_follow_the_task(fedlab, process):
    model = ["model=mlp", "model.hidden=[4]"] if process == "split" else []
    run = fedlab(process, f"process={process}", *model)
    assert run.records()[-1]["train_msle"] < run.records()[0]["train_msle"] and "test_msle" in run.summary
    if process == "local_only":
        assert run.summary["test_msle_best"] <= run.summary["test_msle"] <= run.summary["test_msle_p90"]
        assert run.summary["test_msle_p90"] <= run.summary["test_msle_worst"]
    assert "ccuracy" not in page_of(run)


def test_the_report_has_the_names_of_the_task(plain):
    page = page_of(plain)
    for told in ("test mean squared log error", "Mean squared log error per client", "squared error of scaled logarithms"):
        assert told in page
    assert "ccuracy" not in page and "nats" not in page and "None" not in page


def test_runs_are_ranked_with_less_being_better(plain, fedlab, place, capsys):
    worse = fedlab("worse", "client_optimizer.learning_rate=0.0001")
    assert worse.summary["test_msle"] > plain.summary["test_msle"]
    capsys.readouterr()
    assert main(["runs", str(place.folder), "--sort", "score", "--json"]) == 0
    rows = [r for r in json.loads(capsys.readouterr().out) if pathlib.Path(r["path"]).name in ("plain", "worse")]
    assert [pathlib.Path(r["path"]).name for r in rows] == ["worse", "plain"], "the best is last"
    assert rows[1]["score"] == plain.summary["test_msle"] and rows[1]["metric"] == "test_msle" and rows[1]["accuracy"] is None
    assert main(["compare", "worse", "plain", "--html", "compared.html"]) == 0
    said = capsys.readouterr().out
    assert "lowest test mean squared log error: group 2" in said and "accuracy" not in said
    assert "Mean squared log error on the test set" in (place.folder / "compared.html").read_text()


@pytest.mark.parametrize(
    ("overrides", "stage"),
    [
        (["partition=shards"], "partition: Shards"),
        (["partition=dirichlet"], "partition: Dirichlet"),
        (["corruption=label_flip"], "corruption: LabelFlip"),
        (["attack=model_inversion"], "attack: ModelInversion"),
        (["difftest=standard", "+arms.a.seed=0", "+arms.b.seed=0"], "difftest: Difftest"),
    ],
)
def test_what_needs_classes_is_refused_in_one_line_before_training(experiment, overrides, stage):
    with pytest.raises(ConfigError) as found:
        inputs.load(experiment(*overrides))
    assert str(found.value).startswith(
        f"{stage} needs data with classes, and the task of data progression is log regression: choose"
    )
    assert "\n" not in str(found.value)


def test_data_show_tells_sizes_where_there_are_no_classes(place, capsys):
    assert main(["data", "show", "-cd", "my_conf", *place.words[2:], *SMALL]) == 0
    said = capsys.readouterr().out
    assert "examples per client" in said and "classes" not in said and "entropy" not in said
    assert main(["data", "show", "-cd", "my_conf", *place.words[2:], *SMALL, "--png", "p.png"]) != 0
    assert "classes" in capsys.readouterr().err


def test_a_model_of_another_output_is_told_so(experiment, tensorflow):
    from fedlab.run.training import Training

    built = experiment()

    def two(input_shape, num_outputs):
        return built.model(input_shape, 2)

    own = built.model_copy(update={"model": two})
    with pytest.raises(
        FedlabError, match=r"the model returns \(None, 2\), but log regression needs outputs of shape \(None, 1\)"
    ):
        Training(own, *inputs.load(own))


@pytest.mark.parametrize(
    ("method", "value", "told"),
    [
        ("losses", None, r"Own\.losses returned None; it must return a Tensor"),
        ("counts", lambda outputs: {"a": outputs[0, 0]}, r"Own gives .* as a: return float32 \[n, …\]"),
        ("losses", lambda outputs: outputs, r"Own\.losses returned \[4, 1\] for 4 examples"),
        ("metrics", {}, r"Own\.metrics returned nothing: loss is missing"),
        ("metrics", {"loss": 1.0, "msle": 1.0}, r"Own\.metrics returned loss, msle: baseline_msle is missing"),
    ],
)
def test_methods_that_do_not_fit_are_told_so(place, tensorflow, method, value, told):
    import my_task

    from fedlab.models.functional import check_task

    def returned(self, given, *_):
        return value(given) if callable(value) else value

    own = type("Own", (my_task.LogRegression,), {method: returned, "__module__": "own"})
    with pytest.raises(FedlabError, match=told) as found:
        check_task(own())
    assert "\n" not in str(found.value)


def test_a_sweep_ranks_and_draws_the_headline_metric(place, capfd):
    """The smaller learning rate learns next to nothing, so its error is the larger one."""
    swept = ["num_rounds=1", "client_optimizer.learning_rate=0.02,0.000001", "hydra.sweep.dir=swept"]
    assert main(["train", "-m", *place.words[:-1], *SMALL, *swept]) == 0
    printed = capfd.readouterr().out
    made = json.loads((place.folder / "swept" / "sweep.json").read_text())
    assert made["objective"] == {"metrics": ["test_msle"], "directions": ["minimize"]}
    (good,), (bad,) = (job["objective"] for job in made["jobs"])
    assert good < bad and made["best"] == [1]
    assert "test mean squared log error" in printed and "%" not in printed
    page = (place.folder / "swept" / "report.html").read_text()
    for words in (
        "looked for the lowest test mean squared log error",
        "Mean squared log error on the test set",
        "Loss on the test set",
    ):
        assert words in page
    assert "ccuracy" not in page


def test_the_default_objective_follows_from_the_task(plain, place):
    task = learned(plain.manifest)
    assert goal_of(Objective(), task) == Goal(("test_msle",), ("minimize",))
    assert goal_of(Objective(direction="maximize"), task) == Goal(("test_msle",), ("maximize",))
    assert goal_of(Objective(metric="client_msle_p90"), task).directions == ("minimize",)
    assert goal_of(Objective(metric="bytes_up_total"), task).directions == ("maximize",)
    assert goal_of(Objective(), CLASSIFICATION) == Goal(("test_accuracy",), ("maximize",))
    assert goal_of(Objective(metric="test_loss"), CLASSIFICATION).directions == ("minimize",)
    # Optuna needs the direction before the first job
    for words, name in ((place.words[2:], "log regression"), (["data=mnist"], "classification"), (["process=gan"], "generation")):
        config = compose(words, str(place.folder / "my_conf"))
        assert optuna_study._task(types.SimpleNamespace(objective=Objective()), config).name == name
