"""fedlab from Python, as a script or a notebook uses it."""

from __future__ import annotations

import base64
import inspect
import json
import pathlib
import pickle
import re
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest

import fedlab
from fedlab import library
from fedlab.cli.main import main

DOCS = pathlib.Path(__file__).parents[2] / "docs" / "library.md"
SMALL = ("data.max_examples=100", "partition.num_clients=5", "cohort.clients_per_round=5", "model.hidden=[4]", "logger=[]")


@pytest.fixture(scope="module")
def two(tmp_path_factory, tensorflow):
    """The same run twice in this process, the second one with its lines."""
    folder, lines = tmp_path_factory.mktemp("runs") / "with space, comma", []
    quiet = fedlab.run("digits/fedavg", *SMALL, "num_rounds=3", folder=folder)
    told = fedlab.run("digits/fedavg", *SMALL, "num_rounds=3", folder=folder, on_line=lines.append)
    return quiet, told, lines


def test_a_run_has_what_its_folder_says(two):
    run = two[0]
    files = {name: json.loads((run.folder / f"{name}.json").read_text()) for name in ("summary", "manifest")}
    assert (run.summary, run.manifest, run.config) == (files["summary"], files["manifest"], files["manifest"]["config"])
    assert [record["round"] for record in run.metrics] == [1, 2, 3]
    assert (run.name, run.status, run.arms) == ("digits/fedavg", "finished", [])
    assert repr(run) == f"<digits/fedavg, finished, 3 of 3 rounds, in {run.folder}>"


def test_a_second_run_in_one_process_has_the_same_bits_in_a_folder_of_its_own(two):
    first, second, _ = two
    assert second.folder == first.folder.with_name(f"{first.folder.name}-2")
    assert [r["weights_hash"] for r in first.metrics] == [r["weights_hash"] for r in second.metrics]


def test_lines_are_plain_text_and_tell_of_rounds(two):
    _, second, lines = two
    assert all("\n" not in line and "\x1b" not in line for line in lines)
    assert lines[0].startswith("digits: 100 training examples over 5 clients") and f"run folder: {second.folder}" in lines
    rounds = [line for line in lines if re.match(r"round \d/3  loss \d", line)]
    assert rounds[0].startswith("round 1/3") and rounds[-1].startswith("round 3/3") and "test accuracy" in rounds[-1]


def test_nothing_is_printed(tmp_path, tensorflow, capfd, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["a notebook", "--no-such-flag", "num_rounds=no"])  # which fedlab does not read
    monkeypatch.chdir(tmp_path)
    run = fedlab.run("", *SMALL, "num_rounds=1")
    assert capfd.readouterr() == ("", "")
    assert run.name == "digits/fed_avg" and run.folder.parent == pathlib.Path("outputs/digits/fed_avg")
    assert [found.folder for found in fedlab.runs()] == [run.folder]


def test_the_recorded_command_is_the_same_run(two, tmp_path, capfd, monkeypatch):
    import shlex

    run = two[0]
    words = shlex.split(run.manifest["command"])
    assert words[:2] == ["fedlab", "train"] and words[-1].startswith("hydra.run.dir=")
    assert main([*words[1:], "--cfg", "hydra", "--package", "hydra.run.dir"]) == 0
    assert capfd.readouterr().out.strip() == str(run.folder)
    assert main([*words[1:], "--cfg", "job", "--resolve"]) == 0
    from omegaconf import OmegaConf

    assert OmegaConf.create(capfd.readouterr().out).client == run.config["client"]


def test_the_command_line_verifies_it(two, capfd):
    assert main(["verify", str(two[1].folder), "--quiet"]) == 0
    assert "all 3 rounds gave the same bits" in capfd.readouterr().out


def test_the_model_is_that_of_the_last_round(two):
    model = fedlab.open_run(two[0].folder).model()
    assert model.count_params() == two[0].summary["num_weights"]
    assert model(np.zeros((2, *model.input_shape[1:]), np.float32)).shape == (2, 10)


def test_figures_are_shown_by_a_notebook(two):
    run = two[0]
    assert {"curves", "partition"} <= set(run.figures)
    picture = run.figure("curves")
    assert picture.path == run.folder / "curves.png"
    assert base64.b64decode(picture._repr_mimebundle_()["image/png"]) == picture.path.read_bytes()
    with pytest.raises(fedlab.FedlabError, match=r"has no figure 'curve'\. Did you mean 'curves'\? Its figures: curves, "):
        run.figure("curve")


def test_runs_are_listed_from_the_oldest_and_damage_is_named(two, tmp_path):
    first, second, _ = two
    assert [run.folder for run in fedlab.runs(first.folder.parent)] == [first.folder, second.folder]
    copy = tmp_path / "copy"
    shutil.copytree(first.folder, copy)
    with open(copy / "metrics.jsonl", "a") as file:
        file.write("{}\n")
    with pytest.warns(UserWarning, match=r"left out: .*copy is damaged"):
        assert fedlab.runs(tmp_path) == []
    with pytest.raises(fedlab.FedlabError, match="damaged"):
        fedlab.open_run(copy)
    with pytest.raises(fedlab.FedlabError, match=r"no folder .*nowhere: name one"):
        fedlab.runs(tmp_path / "nowhere")


def test_a_damaged_model_and_picture_are_not_handed_out(two, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(two[0].folder, copy)
    for name in ("model.keras", "curves.png"):
        content = bytearray((copy / name).read_bytes())
        content[len(content) // 2] ^= 1
        (copy / name).write_bytes(content)
    run = fedlab.open_run(copy)
    for what in (run.model, lambda: run.figure("curves")):
        with pytest.raises(fedlab.FedlabError, match="damaged"):
            what()


def test_arms_are_runs(tmp_path, tensorflow):
    run = fedlab.run("", *SMALL, "num_rounds=1", "+arms={a: {}, b: {client: {batch_size: 5}}}", folder=tmp_path / "run")
    assert run.arms == ["a", "b"] and run.arm("b").config["client"]["batch_size"] == 5
    assert run.arm("a").summary["test_accuracy"] == run.summary["a/test_accuracy"]
    assert run.arm("b").model().count_params() == run.arm("b").summary["num_weights"]
    with pytest.raises(fedlab.FedlabError, match="its arms have one each: a, b"):
        run.model()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("digits/fedavgg",), r"no experiment 'digits/fedavgg'\. Did you mean 'digits/fedavg'\?"),
        (("digits/fedavg", "num_round=3"), r"no option 'num_round'\. Did you mean 'num_rounds'\?"),
        (("digits/fedavg", "num_rounds=-1"), r"num_rounds=-1: must be greater than 0\."),
        (("", "client_optimizer.learning_rate=fast"), "client_optimizer.learning_rate=fast: must be a valid number"),
        (("", "cohort.clients_per_round=1000"), "clients_per_round"),
        (("num_rounds=x",), "num_rounds=x: must be a valid integer"),
        (("", "num_rounds=1,2"), "num_rounds=1,2 has a comma"),
        (("", "-m", "seed=0,1"), "'-m' is a flag of the command line"),
        (("", "hydra.run.dir=x"), "fedlab.run takes folder=…"),
        (("digits/search_optuna",), "this is a sweep"),
        (("gan/debug",), "this is an investigation"),
        (("", 3), "3 is no override: give strings"),
    ],
)
def test_a_mistake_is_an_error_of_one_line_and_leaves_nothing(words, told, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(fedlab.ConfigError, match=told) as error:
        fedlab.run(*words)
    assert "\n" not in str(error.value)
    assert capfd.readouterr() == ("", "") and list(tmp_path.iterdir()) == []


def test_data_that_is_missing_is_a_data_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(fedlab.DataError, match=r"gone\.npz"):
        fedlab.run("", "data=npz", "data.path=gone.npz")
    assert list(tmp_path.iterdir()) == []


def test_own_configuration_and_components(tmp_path, monkeypatch, tensorflow):
    """Whoever composes a configuration trusts it, and the model that comes of it; model files only as long as asked for."""
    from fedlab.trust import everything_is_trusted

    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "own.yaml").write_text("_target_: own_of_library.model\n")
    (tmp_path / "own_of_library.py").write_text(
        "def model(input_shape, num_classes):\n    import tensorflow as tf\n    from fedlab import trust\n"
        "    assert trust.everything_is_trusted()\n    layers = tf.keras.layers\n"
        "    return tf.keras.Sequential([layers.InputLayer(input_shape), layers.Flatten(), layers.Dense(num_classes)])\n"
    )
    run = fedlab.run("model=own", *SMALL[:3], "logger=[]", "num_rounds=1", folder="run", config_dir="conf", trust=True)
    assert run.config["model"] == {"_target_": "own_of_library.model"} and run.model().count_params() == 7850
    assert run.manifest["command"].startswith("fedlab train -cd conf --trust model=own ")
    assert not everything_is_trusted()


def test_a_model_from_elsewhere_that_brings_code_needs_trust(two, tmp_path):
    import tensorflow as tf

    from fedlab.archive import RunFolder, inventory

    copy = RunFolder(tmp_path / "copy")
    shutil.copytree(two[0].folder, copy.path)
    with inventory.amending(copy):
        tf.keras.Sequential([tf.keras.layers.InputLayer((2,)), tf.keras.layers.Lambda(lambda x: x + 1)]).save(copy.model)
    from fedlab.trust import NotTrusted

    with pytest.raises(NotTrusted, match="in Python, trust=True"):
        fedlab.open_run(copy.path).model()
    assert float(fedlab.open_run(copy.path, trust=True).model()(np.ones((1, 2)))[0, 0]) == 2


@pytest.fixture(scope="module")
def resumed(two, tmp_path_factory):
    """A copy of the run that is given rounds twice in this process, the second time with its lines; whatever is printed fails."""
    copy, lines = tmp_path_factory.mktemp("resumed") / "run", []
    shutil.copytree(two[0].folder, copy)
    once = fedlab.resume(copy, "num_rounds=4", trust=False)
    twice = fedlab.resume(once, "num_rounds=5", on_line=lines.append)
    return once, twice, lines


def test_a_run_is_resumed_twice_in_one_process(two, resumed):
    once, twice, lines = resumed
    assert [run.status for run in resumed[:2]] == ["finished"] * 2
    assert [len(run.metrics) for run in resumed[:2]] == [5, 5] and once.summary["num_rounds"] == 4
    assert [r["weights_hash"] for r in twice.metrics][:3] == [r["weights_hash"] for r in two[0].metrics]
    assert twice.summary["num_rounds"] == 5 and lines[-1].startswith("round 5/5")
    assert f"run folder: {twice.folder}, from round 5" in lines and all("\x1b" not in line for line in lines)
    assert [entry["command"] for entry in twice.manifest["resumed"]] == [
        f"fedlab train resume={twice.folder} num_rounds={n}" for n in (4, 5)
    ]


def test_a_run_is_verified_twice_in_one_process(resumed, capfd):
    run, lines = resumed[1], []
    first, second = fedlab.verify(run), fedlab.verify(run.folder, rounds=2, on_line=lines.append)
    assert capfd.readouterr() == ("", "")
    assert (first.rounds, first.weights_hash) == (5, run.metrics[-1]["weights_hash"]) and first.remarks == []
    assert (second.rounds, second.weights_hash) == (2, run.metrics[1]["weights_hash"])
    assert [line[:9] for line in lines[-2:]] == ["round 1/2", "round 2/2"]


def test_rounds_that_differ_are_an_error_with_the_round(resumed, tmp_path):
    from fedlab.archive import RunFolder, inventory

    copy = RunFolder(tmp_path / "copy")
    shutil.copytree(resumed[1].folder, copy.path)
    records = [json.loads(line) for line in copy.metrics.read_text().splitlines()]
    records[1]["weights_hash"] = "0" * 16
    with inventory.amending(copy):
        copy.metrics.write_text("".join(json.dumps(record) + "\n" for record in records))
    with pytest.raises(fedlab.FedlabError, match=r"round 2: the weights are \w+, and were 0000"):
        fedlab.verify(copy.path)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda run: fedlab.resume(run), "has finished all of its 5 rounds: add more with num_rounds=N"),
        (lambda run: fedlab.resume(run, "num_rounds=1"), "num_rounds=1, but .* has done 5 rounds already"),
        (lambda run: fedlab.resume(run, "seed=3", "num_rounds=6"), "seed is 0 in the run, 3 here"),
        (lambda run: fedlab.resume(run, "num_round=6"), "has no option 'num_round'. Did you mean 'num_rounds'?"),
        (lambda run: fedlab.resume(run, "--quiet"), "'--quiet' is a flag of the command line: give overrides"),
        (lambda run: fedlab.resume(run, "hydra.run.dir=x"), "leave it out, because a resumed run stays in its own folder"),
        (lambda run: fedlab.verify(run, "hydra.run.dir=x"), "leave it out, because fedlab.verify writes no folder"),
        (lambda run: fedlab.resume(run.folder / "nowhere"), "nowhere"),
        (lambda run: fedlab.verify(run.folder / "nowhere"), "nowhere"),
        (lambda run: fedlab.verify(run, rounds=0), "rounds=0 is not a whole number of at least 1"),
        (lambda run: fedlab.verify(run, "seed=1"), "seed"),
    ],
)
def test_a_mistake_about_a_run_is_an_error_of_one_line_and_changes_nothing(call, told, resumed, capfd):
    before = (resumed[1].folder / "manifest.json").read_bytes()
    with pytest.raises(fedlab.FedlabError, match=told) as error:
        call(resumed[1])
    assert "\n" not in str(error.value) and capfd.readouterr() == ("", "")
    assert (resumed[1].folder / "manifest.json").read_bytes() == before


def test_a_thread_may_run(two, tmp_path):
    """Notebooks and servers call from threads that cannot handle signals."""
    found = []
    thread = threading.Thread(
        target=lambda: found.append(fedlab.run("digits/fedavg", *SMALL, "num_rounds=3", folder=tmp_path / "run"))
    )
    thread.start()
    thread.join()
    assert [r["weights_hash"] for r in found[0].metrics] == [r["weights_hash"] for r in two[0].metrics]


def test_the_function_and_the_package_share_a_name():
    import fedlab.run.experiment

    assert fedlab.run.experiment.Experiment and callable(fedlab.run)
    assert pickle.loads(pickle.dumps(fedlab.run)) is fedlab.run
    assert all(hasattr(fedlab, name) for name in fedlab.__all__) and not hasattr(fedlab, "swep")
    assert inspect.signature(library.run).parameters.keys() == {
        "experiment",
        "overrides",
        "folder",
        "on_line",
        "config_dir",
        "trust",
    }
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = fedlab.nothing


SCRIPT = """
import sys
import fedlab
heavy = {"tensorflow", "hydra", "omegaconf", "matplotlib", "numpy", "pydantic", "rich"}
assert heavy.isdisjoint(sys.modules), heavy & set(sys.modules)
fedlab.open_run, fedlab.runs, fedlab.run, fedlab.resume, fedlab.verify, fedlab.SavedRun
assert heavy.isdisjoint(sys.modules), heavy & set(sys.modules)
try:
    fedlab.run("digits/fedavg", "num_round=3")
except fedlab.ConfigError:
    assert {"tensorflow", "matplotlib", "rich"}.isdisjoint(sys.modules)
"""


def test_importing_is_cheap_and_a_mistake_imports_no_tensorflow():
    subprocess.run([sys.executable, "-c", SCRIPT], check=True, timeout=1800)


def test_the_example_of_the_documentation_runs(tmp_path):
    """In a process of its own, without words and with nobody at a terminal."""
    (example,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", example], cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=1800
    )
    assert done.returncode == 0, done.stderr
    assert (
        "round 3/3" in done.stdout
        and "round 4/4" in done.stdout
        and "runs/first finished 0.9" in done.stdout
        and done.stderr == ""
    )


def test_a_part_of_a_run_that_fails_is_a_line_or_else_a_warning(tmp_path, tensorflow):
    """Here the page, which has a folder in its way."""
    for name in ("told", "silent"):
        (tmp_path / name / "report.html").mkdir(parents=True)
    lines = []
    fedlab.run("", *SMALL, "num_rounds=1", folder=tmp_path / "told", on_line=lines.append)
    assert [line for line in lines if line.startswith("the report of the run could not be written: ")]
    with pytest.warns(UserWarning, match="^the report of the run could not be written: "):
        fedlab.run("", *SMALL, "num_rounds=1", folder=tmp_path / "silent")
