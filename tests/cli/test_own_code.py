"""Code of one's own that is wrong: one line that names its frames, a failed run, a code that is not 0."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

import pytest

from fedlab import stopping
from fedlab.cli.main import main
from fedlab.errors import of_own_code

FAST = ["num_rounds=1", "data.max_examples=60", "partition.num_clients=2", "cohort=all", "evaluation.per_client=false"]
NET = ["~model.hidden", "~model.dropout", "~model.mean", "~model.std"]
SOURCE = """
import sys

import tensorflow as tf

from fedlab.partition import Iid
from fedlab.run.loggers import LoggerSpec


def when_built(shape, num_classes):
    sys.exit({code})


def when_called(shape, num_classes):
    layers = [tf.keras.layers.InputLayer(shape), tf.keras.layers.Flatten(), tf.keras.layers.Dense(num_classes)]
    model = tf.keras.Sequential(layers)
    model.layers[-1].call = lambda x: sys.exit({code})
    return model


class Partitioner(Iid):
    def __call__(self, examples, seed):
        sys.exit({code})


class Logger:
    def log(self, record):
        sys.exit({code})

    def close(self): ...


class Logging(LoggerSpec):
    def open(self, folder, name, config, records):
        return Logger()


def wrong(shape, num_classes):
    return tf.keras.layers.Dense(shape[0] // 0)
"""
EXITS = {
    "model": (["model._target_=MODULE.when_built", *NET], "in when_built"),
    "layer": (["model._target_=MODULE.when_called", *NET], "in <lambda>"),
    "partition": (["partition._target_=MODULE.Partitioner"], "in __call__"),
    "import": (["model._target_=MODULE_script.net", *NET], "in <module>"),
}


@pytest.fixture
def module(tmp_path, monkeypatch, tensorflow, request):
    """A module of one's own in the current folder, under a name that no other test has imported."""
    name = "own_" + "".join(c if c.isalnum() else "_" for c in request.node.name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    code = getattr(request.node, "callspec", None) and request.node.callspec.params.get("code", 0)
    pathlib.Path(f"{name}.py").write_text(SOURCE.replace("{code}", repr(code)))
    pathlib.Path(f"{name}_script.py").write_text(f"import sys\n\nsys.exit({code!r})\n")
    return name


@pytest.mark.parametrize(
    ("slot", "code"), [("model", 0), ("model", None), ("layer", 0), ("partition", 0), ("import", 0), ("import", 3)]
)
def test_code_that_exits_ends_no_run_in_silence(slot, code, module, capfd):
    options, frame = EXITS[slot]
    assert main(["train", "-q", *FAST, "hydra.run.dir=run", *(o.replace("MODULE", module) for o in options)]) in (1, 2)
    error = capfd.readouterr().err
    assert "code of your own exits" in error and f"{module}" in error and frame in error and error.count("\n") == 1, error
    if pathlib.Path("run").exists():
        manifest = json.loads(pathlib.Path("run/manifest.json").read_text())
        assert manifest["status"] == "failed" and "exits" in manifest["failure"]


def test_a_logger_that_exits_is_left_out_like_any_that_fails(module, capfd):
    assert main(["train", "-q", *FAST, "hydra.run.dir=run", f"+logger.own._target_={module}.Logging"]) == 0
    error = capfd.readouterr().err
    assert "the own logger failed; the run continues without it: SystemExit" in error
    assert json.loads(pathlib.Path("run/manifest.json").read_text())["status"] == "finished"


@pytest.mark.parametrize("number", stopping.SIGNALS)
def test_a_signal_that_comes_while_code_of_ones_own_runs_is_no_mistake_in_it(number):
    with pytest.raises(stopping.STOPS) as caught:
        stopping.stop(number)
    assert of_own_code(caught.value) is None


def test_no_round_is_trained_for_a_sampling_that_a_later_cohort_contradicts(module, capfd):
    """The first cohort agrees with the statement: ε of its round would be shown for a statement that is untrue."""
    pathlib.Path(f"{module}.py").write_text(
        "import numpy as np\n\n"
        "from fedlab.cohort import CohortSampler\nfrom fedlab.sampling import Schedule\n\n\n"
        "class Once(CohortSampler):\n"
        "    def _choose(self, num_clients, seed, round):\n        return np.arange(1)\n\n"
        "    def sampling(self, num_clients):\n        return Schedule(num_clients, 1, most=1)\n"
    )
    options = ["num_rounds=3", "data.max_examples=60", "partition.num_clients=2", "privacy=gaussian_fixed", "privacy.delta=0.1"]
    cohort = ["~cohort", f"+cohort._target_={module}.Once"]
    assert main(["train", "-q", *options, *cohort, "hydra.run.dir=run"]) == 2
    assert "in round 2 a client has taken part 2 times: no ε can be claimed" in capfd.readouterr().err
    assert not pathlib.Path("run").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("net", "says"), [("wrong", "ZeroDivisionError: "), ("when_built", "code of your own exits (")])
def test_a_job_of_a_sweep_names_the_users_frames_in_a_line(net, says, module):
    """Its log has that line at its end and no call stack; so have the terminal and the table."""
    command = [sys.executable, "-m", "fedlab.cli.main", "train", "-m", "hydra.sweep.dir=sweep", "seed=0", *FAST]
    done = subprocess.run([*command, f"model._target_={module}.{net}", *NET], capture_output=True, text=True, timeout=1800)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    (job,) = json.loads(pathlib.Path("sweep/sweep.json").read_text())["jobs"]
    (log,) = pathlib.Path("sweep").glob("*/log.txt")
    last = log.read_text().splitlines()[-1]
    assert "Traceback" not in log.read_text()
    assert job["status"] == "failed"
    for text in (last, job["failure"], done.stderr):
        assert says in text and f"{module}.py, line " in text and f"in {net}" in text, text
