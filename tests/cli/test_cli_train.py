"""`fedlab train` end to end, as a user runs it: a process of its own, in an empty folder."""

import itertools
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from fedlab.cli.main import main
from fedlab.report import words
from tests.conftest import in_sample

FAST = ["num_rounds=2", "data.max_examples=200", "model.hidden=[8]"]


def fedlab(*args: str, cwd: pathlib.Path, code: int = 0) -> subprocess.CompletedProcess:
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:fedlab", "-m", "fedlab.cli.main", *args],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=1800,
        env={**os.environ, "COLUMNS": "100"},
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def test_a_run_leaves_everything_in_its_folder(tmp_path):
    done = fedlab("train", *FAST, "eval_every=2", cwd=tmp_path)
    lines = done.stdout.splitlines()
    announced = [line for line in lines if line.startswith("run folder: ")]
    assert len(announced) == 1
    folder = tmp_path / announced[0].removeprefix("run folder: ")
    assert lines[-1] == f"report: {announced[0].removeprefix('run folder: ')}/report.html"
    assert sum("report" in line for line in lines) == 1 and sum(line.startswith("test accuracy") for line in lines) == 1
    assert folder.parts[-4:-1] == ("outputs", "digits", "fed_avg")
    assert {p.name for p in folder.iterdir()} == {
        ".lock",
        "checkpoints",
        "clients.csv",
        "config.yaml",
        "inventory.json",
        "curves.png",
        "manifest.json",
        "metrics.csv",
        "metrics.jsonl",
        "model.keras",
        "partition.csv",
        "partition.png",
        "report.html",
        "summary.json",
        "tensorboard",
    }
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [r["round"] for r in records] == [1, 2]
    assert "test_accuracy" not in records[0] and "test_accuracy" in records[1]
    assert all({"train_loss", "seconds", "bytes_up", "bytes_down", "num_clients", "num_dropped"} <= set(r) for r in records)
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["test_accuracy"] == records[1]["test_accuracy"]
    phases = json.loads((folder / "manifest.json").read_text())["seconds"]
    assert summary["seconds_total"] == phases["total"]  # as `fedlab runs`, `compare` and the report show it
    assert lines[-2].startswith(f"total time {words.seconds(phases['total'])}, ")
    assert {"data", "tensorflow", "building", "training", "evaluation", "pictures"} < set(phases)
    assert sum(phases.values()) - phases["total"] <= phases["total"] + 0.01  # phases do not overlap
    assert 0 <= summary["client_accuracy_worst"] <= summary["client_accuracy_p10"] <= summary["client_accuracy_mean"] <= 1
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert any("tfevents" in p.name for p in (folder / "tensorboard").iterdir())
    assert done.stderr == ""  # none of TensorFlow's start-up chatter


@pytest.mark.slow
def test_the_saved_configuration_repeats_the_run(tmp_path):
    first = fedlab("train", *FAST, "seed=3", "hydra.run.dir=one", cwd=tmp_path)
    assert "run folder: one" in first.stdout
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "same.yaml").write_text("# @package _global_\n" + (tmp_path / "one" / "config.yaml").read_text())
    fedlab("train", "-cd", "again", "+same", "hydra.run.dir=two", cwd=tmp_path, code=2)  # a file needs a group
    (tmp_path / "again" / "experiment").mkdir()
    (tmp_path / "again" / "same.yaml").rename(tmp_path / "again" / "experiment" / "same.yaml")
    fedlab("train", "-cd", "again", "+experiment=same", "hydra.run.dir=two", cwd=tmp_path)
    summaries = [json.loads((tmp_path / name / "summary.json").read_text()) for name in ("one", "two")]
    assert summaries[0]["test_loss"] == summaries[1]["test_loss"]


@pytest.fixture
def here(tmp_path, monkeypatch, tensorflow, capfd):
    """Runs `fedlab` in this process, which has TensorFlow started, in an empty folder; what it printed, and its errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)

    def run(*args, code=0):
        assert main(args) == code
        return capfd.readouterr()

    return run


def test_a_users_own_model_and_configuration_folder(here, tmp_path):
    (tmp_path / "my_models.py").write_text(
        "def net(input_shape, num_classes, width):\n"
        "    import tensorflow as tf\n"
        "    layers = tf.keras.layers\n"
        "    stack = [layers.InputLayer(input_shape), layers.Flatten(), layers.Dense(width), layers.Dense(num_classes)]\n"
        "    return tf.keras.Sequential(stack)\n"
    )
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "net.yaml").write_text("_target_: my_models.net\nwidth: 4\n")
    done = here("train", "-cd", "conf", "model=net", "num_rounds=1", "data.max_examples=100")
    assert f"{(784 * 4 + 4) + (4 * 10 + 10):,} weights" in done.out
    wrong = here("train", "-cd", "conf", "model=net", "+model.depth=2", code=2)
    assert "unexpected keyword argument 'depth'; net takes input_shape, num_classes, width." in wrong.err


def test_a_users_own_configuration_folder_serves_data_show_too(here, tmp_path):
    (tmp_path / "conf" / "partition").mkdir(parents=True)
    (tmp_path / "conf" / "partition" / "mine.yaml").write_text("_target_: fedlab.partition.Iid\nnum_clients: 7\n")
    assert "7 clients hold" in here("data", "show", "-cd", "conf", "partition=mine").out
    assert "Did you mean 'mine'?" in here("data", "show", "-cd", "conf", "partition=mime", code=2).err


@pytest.mark.slow
def test_a_model_that_draws_trains_and_equal_seeds_give_equal_bits(tmp_path):
    options = [*FAST, "model.dropout=0.3", "aggregator=compressed", "aggregator.threshold=50"]
    for name in ("one", "two"):
        fedlab("train", *options, f"hydra.run.dir={name}", cwd=tmp_path)
    losses = [json.loads((tmp_path / name / "summary.json").read_text())["test_loss"] for name in ("one", "two")]
    assert losses[0] == losses[1]


def test_a_users_failing_model_is_one_line_and_leaves_nothing(here, tmp_path):
    (tmp_path / "broken.py").write_text("def net(input_shape, num_classes):\n    raise ValueError('oops\\nsecond line')\n")
    options = ["~model.hidden", "~model.dropout", "~model.mean", "~model.std"]
    told = here("train", "model._target_=broken.net", code=2).err
    assert told.endswith(f"net takes input_shape, num_classes. Leave out what it does not take: {' '.join(options)}\n")
    done = here("train", "model._target_=broken.net", *options, code=2)
    where = f"{tmp_path / 'broken.py'}, line 2, in net"
    assert done.err == f"fedlab train: model: ValueError: oops second line ({where}).\n"
    assert not (tmp_path / "outputs").exists()


@pytest.mark.slow
def test_npz_with_user_ids(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 5)).astype(np.float32)
    np.savez(tmp_path / "mine.npz", x=x, y=(x[:, 0] > 0).astype(int), user_ids=np.repeat(["ann", "bob", "cat"], 20))
    done = fedlab("train", "data=npz", "data.path=mine.npz", "partition=by_user", "cohort=all", "num_rounds=2", cwd=tmp_path)
    assert "over 3 clients" in done.stdout


def test_quick_answers_import_no_tensorflow(tmp_path):
    """One after the other in a process of their own."""
    commands = [
        "--help",
        "train --help",
        "train secure=masked --help",
        "train --cfg job",
        "train --cfg job --resolve",
        "data list",
        "data show",
    ]
    script = (
        "import sys\nfrom fedlab.cli.main import main\n"
        f"for command in {commands!r}:\n"
        "    try:\n        code = main(command.split())\n    except SystemExit as stop:\n        code = stop.code\n"
        "    heavy = {'tensorflow', 'tensorflow_federated', 'jax', 'pandas', 'tenseal'} & set(sys.modules)\n"
        "    if code or heavy:\n        sys.exit(f'{command}: exit code {code}, imported {heavy}')\n"
        "    print('end of', command)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    ends = [lines.index(f"end of {command}") for command in commands]
    assert ends[0] > 0 and all(b > a + 1 for a, b in itertools.pairwise(ends))  # each printed something


def test_help_lists_groups_with_their_choices(here):
    help_page = here("train", "--help").out
    models = sorted(file.stem for file in (EXPERIMENTS.parent / "model").glob("*.yaml"))
    assert f"model: {', '.join(models)}" in " ".join(help_page.split())
    assert "experiment/mnist: 2nn_iid, by_writer, ckks, ckks_choices, ckks_search, dp_adaptive" in help_page


EXPERIMENTS = pathlib.Path(__file__).parent.parent.parent / "conf" / "experiment"
ON_DIGITS = {
    **{  # the digits do not say who wrote them
        name: ["partition=iid", "partition.num_clients=20"]
        for name in (
            *("mnist/by_writer", "heart/fedavg", "heart/local"),
            *("synthetic/fedavg", "synthetic/feddyn", "synthetic/fednova", "synthetic/fedprox", "synthetic/scaffold"),
        )
    },
    **{  # nor are they text
        f"shakespeare/{name}": ["partition=iid", "partition.num_clients=20", "~partition.min_examples", "model=mlp"]
        for name in ("fedavg", "fedadam")
    },
    # nor are there thousands of users
    **{f"async/{name}": ["partition.num_clients=40"] for name in ("fedavg", "fedbuff")},
    **{f"cifar10/{name}": ["partition.num_clients=20"] for name in ("fedavg_dirichlet", "scaffold")},
    "mnist/dp_fedavg": ["partition.num_clients=200"],
    "mnist/dp_adaptive": ["partition.num_clients=200"],
    "mnist/dp_ftrl": ["partition.num_clients=200"],
    **{f"gan/{name}": ["partition=iid", "partition.num_clients=20"] for name in ("small", "dp")},
    "gan/published": ["partition=iid", "partition.num_clients=20", "client.max_local_steps=1", "process.generator_steps=1"],
}
RUNS = [
    str(path.relative_to(EXPERIMENTS).with_suffix(""))
    for path in sorted(EXPERIMENTS.rglob("*.yaml"))
    if not path.match("gan/debug*")  # investigations, of several runs: test_investigate.py
]


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_every_experiment_runs_on_digits_and_again_to_the_same_bits(name, here, tmp_path):
    """One experiment in three, or each with FEDLAB_ALL_VARIANTS=1, in two processes of its own; the others in this one."""
    apart = in_sample(name, 3)

    def said_by(*words, code=0):
        return fedlab(*words, cwd=tmp_path, code=code).stdout if apart else here(*words, code=code).out

    changes = ON_DIGITS.get(name, [])
    if "MULTIRUN" in (EXPERIMENTS / f"{name}.yaml").read_text():
        changes = [*changes, "hydra.mode=RUN"]  # one run instead of a sweep
    said_by("train", f"+experiment={name}", "data=digits", *changes, "num_rounds=3", "hydra.run.dir=run")
    reproducible = json.loads((tmp_path / "run" / "manifest.json").read_text())["reproducible"]
    said = said_by("verify", "run", "--quiet", code=0 if reproducible else 1)
    assert ("all 3 rounds gave the same bits" in said) == reproducible
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    accuracies = [
        value for name, value in summary.items() if name.split("/")[-1] == "test_accuracy"
    ]  # an arm's is arm/test_accuracy
    if "polarity" in summary:  # of a GAN, which has no accuracy
        accuracies = [summary["polarity"]]
    assert accuracies and all(0 <= accuracy <= 1 for accuracy in accuracies)


@pytest.mark.slow
def test_the_default_experiment_learns(tmp_path):
    fedlab("train", "+experiment=digits/fedavg", "hydra.run.dir=run", cwd=tmp_path)
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["test_accuracy"] >= 0.93
